// Sound: tones for what comes in. Browsers allow them only after a person has pressed something.

const KEY = "almenara-muted";

// Notes of each tone: [starts at s, Hz, lasts s]. New work rises, a repeated call insists, review is low and soft.
const TONES = {
  arrival: { volume: 0.5, wave: "triangle", notes: [[0, 660, 0.16], [0.18, 880, 0.16], [0.36, 1175, 0.3]] },
  repeated: {
    volume: 0.7,
    wave: "square",
    notes: [[0, 988, 0.12], [0.16, 740, 0.12], [0.32, 988, 0.12], [0.48, 740, 0.12], [0.64, 988, 0.24]],
  },
  review: { volume: 0.35, wave: "sine", notes: [[0, 392, 0.22], [0.26, 523, 0.34]] },
};
const GAP_MS = 1200; // a burst of incidents is one alarm, not a hail of them

let context = null;
let muted = remembered();
let told = muted ? "muted" : "blocked"; // what the button said when it was pressed
let last_ms = { arrival: 0, repeated: 0, review: 0 };
const watchers = new Set();

/** "muted", "blocked" until a person presses something, or "on". */
export function soundState() {
  if (muted) return "muted";
  return context?.state === "running" ? "on" : "blocked";
}

/** Be told when that changes; returns how to stop. */
export function watchSound(look) {
  watchers.add(look);
  return () => watchers.delete(look);
}

/** Ask the browser to let us; only works while it handles a press of a person. */
export async function allowSound() {
  context ||= new AudioContext();
  context.onstatechange = changed;
  await context.resume().catch(() => null);
  changed();
}

/** Turn sound off or on again, and remember it. */
export async function toggleMute() {
  if (told === "blocked") {
    await allowSound();
    play("arrival");
    return;
  }
  muted = !muted;
  try {
    localStorage.setItem(KEY, muted ? "yes" : "");
  } catch {
    // not remembered, but done
  }
  if (!muted) await allowSound();
  changed();
  if (!muted) play("arrival"); // so that it is heard that it is heard
}

/** Sound a tone: arrival, repeated or review. */
export function play(tone) {
  if (muted || context?.state !== "running") return;
  const now_ms = performance.now();
  if (now_ms - last_ms[tone] < GAP_MS) return;
  last_ms[tone] = now_ms;
  const { volume, wave, notes } = TONES[tone];
  for (const [starts_s, pitch_hz, lasts_s] of notes) {
    const [oscillator, gain] = [context.createOscillator(), context.createGain()];
    const at_s = context.currentTime + 0.02 + starts_s;
    oscillator.type = wave;
    oscillator.frequency.value = pitch_hz;
    gain.gain.setValueAtTime(0, at_s);
    gain.gain.linearRampToValueAtTime(volume * (wave === "square" ? 0.35 : 1), at_s + 0.015);
    gain.gain.exponentialRampToValueAtTime(0.001, at_s + lasts_s);
    oscillator.connect(gain).connect(context.destination);
    oscillator.start(at_s);
    oscillator.stop(at_s + lasts_s + 0.05);
  }
}

// Any press will do: then a person who starts to work is heard without having thought of it.
for (const press of ["click", "keydown"]) {
  addEventListener(press, () => !muted && context?.state !== "running" && allowSound(), { capture: true, passive: true });
}

function changed() {
  // After the press that allowed it has been dealt with: the same one must not mute again.
  setTimeout(() => (told = soundState()));
  watchers.forEach((look) => look());
}

function remembered() {
  try {
    return localStorage.getItem(KEY) === "yes";
  } catch {
    return false;
  }
}
