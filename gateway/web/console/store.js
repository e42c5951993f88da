// What this browser keeps, as JSON under keys of our own ("gateway.session"). Where storage is
// blocked, it is kept as long as the page is open.

const fallback = new Map();

export function recall(name, area = "sessionStorage") {
  const key = `gateway.${name}`;
  try {
    return JSON.parse(window[area].getItem(key)) ?? fallback.get(key) ?? null;
  } catch {
    return fallback.get(key) ?? null;
  }
}

// Keep a value; null forgets it.
export function keep(name, value, area = "sessionStorage") {
  const key = `gateway.${name}`;
  fallback.delete(key);
  try {
    if (value === null) window[area].removeItem(key);
    else window[area].setItem(key, JSON.stringify(value));
  } catch {
    if (value !== null) fallback.set(key, value);
  }
}
