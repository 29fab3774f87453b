// Vendor: classic scripts of others, loaded when a part of the page first needs them.

const loading = new Map();

/** Load a script once; throws where the server does not have it. */
export function script(address) {
  if (!loading.has(address)) {
    loading.set(
      address,
      new Promise((done, failed) => {
        const element = document.createElement("script");
        element.src = address;
        element.onload = done;
        element.onerror = () => failed(new Error(`${address} did not load`));
        document.head.append(element);
      }),
    );
  }
  return loading.get(address);
}

/** Leaflet with its clusters. */
export async function leaflet() {
  await script("/static/vendor/leaflet/leaflet.js");
  await script("/static/vendor/markercluster/leaflet.markercluster.js");
  return globalThis.L;
}

/** Chart.js. */
export async function charts() {
  await script("/static/vendor/chart/chart.js");
  return globalThis.Chart;
}
