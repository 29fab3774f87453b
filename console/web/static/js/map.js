// Map: open cases where they are, clustered. Choosing one selects its row, and the other way round.

import { html, useEffect, useRef, useState } from "/static/vendor/preact/preact.js";
import { putBaseMap } from "./basemap.js";
import { iconElement, situationClass, situationIcon } from "./icons.js";
import { IconButton, situationName } from "./parts.js";
import { go, route } from "./router.js";
import { mine, newest, stateOf } from "./rows.js";
import { useStore } from "./store.js";
import { leaflet } from "./vendor.js";
import { t } from "./words.js";

const NEAREST_ZOOM = 15;

/** `shown`: on a narrow screen, whether it is what the switch shows. */
export function CaseMap({ shown }) {
  const store = useStore();
  const room = useRef(null);
  const chart = useRef(null);
  const [trouble, setTrouble] = useState("");
  const { rows } = store.board();
  useEffect(() => {
    let made = null;
    makeChart(room.current, store).then(
      (ready) => {
        made = chart.current = ready;
        chart.current.show(store.board().rows, store);
        chart.current.fit();
      },
      () => setTrouble(t("map.missing")),
    );
    return () => made?.close();
  }, []);
  useEffect(() => chart.current?.show(rows, store));
  useEffect(() => chart.current?.select(store.selected), [store.selected]);
  useEffect(() => chart.current?.resize(), [shown]);
  return html`<section class="map" aria-label=${t("map.title")}>
    <div class="map-room" ref=${room}></div>
    ${trouble && html`<p class="empty">${trouble}</p>`}
    <${IconButton} name="fit" className="fit" label=${t("map.fit")} onClick=${() => chart.current?.fit()} />
  </section>`;
}

async function makeChart(room, store) {
  const L = await leaflet();
  // Zooming in without end over a coarse outline helps nobody; the cluster layer needs a most anyway.
  const map = L.map(room, { maxZoom: 19, minZoom: 1, zoomControl: false, worldCopyJump: true, zoomSnap: 0.5 });
  map.attributionControl.setPrefix("Leaflet");
  map.setView([20, 0], 2);
  L.control.zoom({ position: "topright", zoomInTitle: t("map.nearer"), zoomOutTitle: t("map.farther") }).addTo(map);
  L.control.scale({ imperial: false }).addTo(map);
  const clusters = L.markerClusterGroup({
    maxClusterRadius: 44, showCoverageOnHover: false, iconCreateFunction: (cluster) => pile(L, cluster),
  });
  map.addLayer(clusters);
  const repaint = await putBaseMap(L, map, store.setup);
  document.addEventListener("almenara:theme", repaint);
  const resized = new ResizeObserver(() => map.invalidateSize());
  resized.observe(room);
  return new Chart(L, map, clusters, () => {
    document.removeEventListener("almenara:theme", repaint);
    resized.disconnect();
    map.remove();
  });
}

class Chart {
  #markers = new Map();
  #fitted = false;
  #chosen = "";

  constructor(L, map, clusters, close) {
    Object.assign(this, { L, map, clusters, close });
  }

  /** Put markers where rows are; only what changed is touched. */
  show(rows, store) {
    const there = new Set(rows.map((row) => row.case));
    for (const [id, marker] of this.#markers) {
      if (there.has(id)) continue;
      this.clusters.removeLayer(marker);
      this.#markers.delete(id);
    }
    for (const row of rows) this.#put(row, stateOf(mine(row, store.me, store.looking)), store);
    if (!this.#fitted && rows.length) this.fit();
  }

  #put(row, state, store) {
    const before = this.#markers.get(row.case);
    const look = [row.version, state, row.case === this.#chosen, row.latitude_deg, row.longitude_deg].join();
    if (before?.look === look) return;
    if (before) this.clusters.removeLayer(before);
    const name = `${situationName(row.situation)} #${newest(row).number}: ${t(`state.${state}`)}`;
    const marker = this.L.marker([row.latitude_deg, row.longitude_deg], {
      icon: pin(this.L, row, state, row.case === this.#chosen), title: name, alt: name, riseOnHover: true,
    });
    Object.assign(marker, { look, state });
    marker.on("click", () => choose(row.case, store));
    marker.on("dblclick", () => go(`/cases/${row.case}`));
    this.#markers.set(row.case, marker);
    this.clusters.addLayer(marker);
  }

  /** Show one case as chosen, and bring it into view without changing how near one looks. */
  select(id) {
    this.#chosen = id;
    const marker = this.#markers.get(id);
    if (marker && !this.map.getBounds().pad(-0.1).contains(marker.getLatLng())) this.map.panTo(marker.getLatLng());
  }

  /** Everything that is open, in one view. */
  fit() {
    const places = [...this.#markers.values()].map((marker) => marker.getLatLng());
    if (!places.length || !this.map.getSize().x) return;
    this.#fitted = true;
    this.map.fitBounds(this.L.latLngBounds(places), { padding: [48, 48], maxZoom: NEAREST_ZOOM, animate: false });
  }

  resize() {
    this.map.invalidateSize();
    if (!this.#fitted) this.fit();
  }
}

function choose(id, store) {
  if (route().page === "case") go(`/cases/${id}`);
  store.change({ selected: id });
  setTimeout(() => document.getElementById(`row-${id}`)?.scrollIntoView({ block: "nearest" }), 80);
}

function pin(L, row, state, chosen) {
  const face = document.createElement("span");
  face.className = `pin ${situationClass(row.situation)} is-${state} ${chosen ? "chosen" : ""}`;
  face.append(iconElement(situationIcon(row.situation)));
  return L.divIcon({ html: face, className: "pin-room", iconSize: [34, 34], iconAnchor: [17, 17] });
}

function pile(L, cluster) {
  const markers = cluster.getAllChildMarkers();
  const waiting = markers.filter((marker) => marker.state === "dispatched").length;
  const face = document.createElement("span");
  face.className = `cluster ${waiting ? "is-dispatched" : ""}`;
  face.textContent = String(markers.length);
  face.title = t("map.cluster", { number: markers.length, waiting });
  return L.divIcon({ html: face, className: "pin-room", iconSize: [42, 42] });
}
