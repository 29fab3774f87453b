// Places: coordinates as people read, copy and open them.

const EARTH_RADIUS_M = 6_371_008.8;

/** Latitude, longitude in degrees as they are written everywhere: 33.8568, 151.2153. */
export function written(place) {
  return `${short(place.latitude_deg)}, ${short(place.longitude_deg)}`;
}

/** A link that a phone's or computer's own map application opens. */
export function geoLink(place) {
  const pair = `${short(place.latitude_deg)},${short(place.longitude_deg)}`;
  return `geo:${pair}?q=${pair}`;
}

/** A link to the place on openstreetmap.org. */
export function streetMapLink(place) {
  const [latitude, longitude] = [short(place.latitude_deg), short(place.longitude_deg)];
  return `https://www.openstreetmap.org/?mlat=${latitude}&mlon=${longitude}#map=17/${latitude}/${longitude}`;
}

/** Metres between two places, on a sphere. */
export function distance_m(one, other) {
  const [a, b] = [radians(one.latitude_deg), radians(other.latitude_deg)];
  const across = radians(other.longitude_deg - one.longitude_deg);
  const half = Math.sin((b - a) / 2) ** 2 + Math.cos(a) * Math.cos(b) * Math.sin(across / 2) ** 2;
  return 2 * EARTH_RADIUS_M * Math.asin(Math.min(1, Math.sqrt(half)));
}

/** Metres as people read them: 80 m, 1.2 km. */
export function metres(distance) {
  return distance < 1000 ? `${Math.round(distance)} m` : `${(distance / 1000).toFixed(1)} km`;
}

/** Copy a text; whether it worked. The clipboard's own interface needs TLS, and a desk may be reached without. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "visually-hidden";
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}

function short(degrees) {
  return String(Number(Number(degrees).toFixed(7)));
}

function radians(degrees) {
  return (degrees * Math.PI) / 180;
}
