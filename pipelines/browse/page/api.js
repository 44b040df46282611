// Requests to the server of this page; an error has the server's message.

async function answer(response) {
  if (response.ok) return response.json();
  let detail = "";
  try {
    const found = (await response.json()).detail;
    detail = typeof found === "string" ? found : found.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  } catch { /* the body is not JSON */ }
  const error = new Error(detail || `The server answered with ${response.status}.`);
  error.status = response.status;
  throw error;
}

async function send(path, options) {
  try {
    return await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is nightrain browse still running?");
  }
}

export async function get(path, query = "", signal = undefined) {
  const text = query.toString();
  return answer(await send(text ? `${path}?${text}` : path, { signal }));
}

export async function review(key, verdict, reason) {
  const body = JSON.stringify({ key, verdict, reason });
  const headers = { "Content-Type": "application/json" };
  return answer(await send("/api/review", { method: "POST", headers, body }));
}

export const samplePath = (key) => `/api/samples/${encodeURIComponent(key)}`;
export const thumbnailPath = (key) => `/thumbnail/${encodeURIComponent(key)}`;
export const picturePath = (key, name) => `/picture/${encodeURIComponent(key)}/${encodeURIComponent(name)}`;
