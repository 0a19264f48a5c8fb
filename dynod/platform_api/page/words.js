// Figures as people read them.

export const none = "–";

export const count = (value) => (value == null ? none : value.toLocaleString("en"));

export const rate = (value) =>
  value == null ? none : value >= 100 ? count(Math.round(value)) : String(+value.toFixed(value >= 10 ? 1 : 2));

export const time = (ms) =>
  ms == null ? none : ms >= 10000 ? `${(ms / 1000).toFixed(0)} s` : ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`;

export const share = (value) => (value == null ? none : `${Math.round(value * 100)} %`);

export const memory = (bytes) =>
  bytes == null ? none : bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GB` : `${Math.round(bytes / 2 ** 20)} MB`;

export function span(seconds) {
  if (seconds == null) return none;
  const minutes = Math.floor(seconds / 60), hours = Math.floor(minutes / 60), days = Math.floor(hours / 24);
  if (days) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}

export const clock = (moment) => moment.toLocaleTimeString("en-GB");

export const ago = (moment) => `${span(Math.max(0, (Date.now() - moment) / 1000))} ago`;

export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
