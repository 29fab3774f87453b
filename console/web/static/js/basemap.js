// Base map: the world's coarse outline and a graticule, which need no network; and tiles, where a setting names them.

import { ask } from "./api.js";
import { colour } from "./theme.js";

const STEPS_DEG = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60];
const APART_PX = 96;

/** Put the base map on a Leaflet map; returns a function that paints it anew in the theme's colours. */
export async function putBaseMap(L, map, setup) {
  if (setup.tile_url) {
    // Leaflet takes the attribution for HTML: what the setting says is text.
    const attribution = Object.assign(document.createElement("span"), { textContent: setup.tile_attribution }).innerHTML;
    L.tileLayer(setup.tile_url, { maxZoom: 19, attribution }).addTo(map);
    return () => {};
  }
  const land = L.geoJSON(null, { interactive: false, style: landStyle }).addTo(map);
  const graticule = L.layerGroup().addTo(map);
  const draw = () => drawGraticule(L, map, graticule);
  map.on("moveend", draw);
  map.attributionControl.addAttribution("Natural Earth");
  draw();
  await ask("/static/vendor/world.geojson").then((world) => land.addData(world)).catch(() => null);
  land.bringToBack();
  return () => {
    land.setStyle(landStyle());
    draw();
  };
}

function landStyle() {
  return { color: colour("--map-coast"), weight: 1, fillColor: colour("--map-land"), fillOpacity: 1 };
}

function drawGraticule(L, map, layer) {
  layer.clearLayers();
  const bounds = map.getBounds();
  const [south, north] = [Math.max(-85, bounds.getSouth()), Math.min(85, bounds.getNorth())];
  const [west, east] = [bounds.getWest(), bounds.getEast()];
  const wide_px = map.getSize().x;
  if (!wide_px) return; // not shown
  const step = STEPS_DEG.find((each) => (each * wide_px) / (east - west) >= APART_PX) || STEPS_DEG.at(-1);
  const style = { color: colour("--map-line"), weight: 1, interactive: false };
  for (let index = Math.ceil(west / step); index * step <= east; index++) {
    const longitude = index * step;
    layer.addLayer(L.polyline([[south, longitude], [north, longitude]], style));
    layer.addLayer(label(L, [south, longitude], degrees(longitude, step), "at-bottom"));
  }
  for (let index = Math.ceil(south / step); index * step <= north; index++) {
    const latitude = index * step;
    layer.addLayer(L.polyline([[latitude, west], [latitude, east]], style));
    layer.addLayer(label(L, [latitude, west], degrees(latitude, step), "at-left"));
  }
}

function label(L, place, text, side) {
  const html = Object.assign(document.createElement("span"), { textContent: text });
  const icon = L.divIcon({ className: `graticule ${side}`, html, iconSize: [0, 0] });
  return L.marker(place, { icon, interactive: false, keyboard: false });
}

function degrees(value, step) {
  const digits = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step)));
  return `${value.toFixed(digits)}°`;
}
