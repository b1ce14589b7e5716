// Talking to the server that this page came from, and only to it. The token never stands in an address that is sent.

const KEY = "legible.token";
const ASK = "legible.token?";
const WAIT = 250; // milliseconds for another tab of this server to answer
let token = null;
let channel = null;

/** An answer that is an error: its text is the server's, its status 0 where the server was not reached. */
export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** Takes token or code out of the address, and shares the token with other tabs of this server that ask for it. */
export async function signIn() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const [given, code] = [fragment.get("token"), fragment.get("code")];
  fragment.delete("token");
  fragment.delete("code");
  if (given || code) history.replaceState(null, "", location.pathname + (fragment.size ? `#${fragment}` : ""));
  if (code && !given) token = (await call("POST", "/api/v1/session", { code })).token;
  token = given ?? token ?? sessionStorage.getItem(KEY) ?? (await fromAnotherTab());
  if (token) remember(token);
  return token !== null;
}

/** Takes a token, or an address that holds one, from the user. */
export function giveToken(words) {
  const found = words.includes("#") ? new URLSearchParams(words.slice(words.indexOf("#") + 1)).get("token") : words;
  remember((found ?? "").trim());
}

export function forgetToken() {
  token = null;
  sessionStorage.removeItem(KEY);
}

function remember(value) {
  token = value;
  sessionStorage.setItem(KEY, value);
  if (channel) return;
  channel = new BroadcastChannel("legible"); // reaches tabs of this very server only
  channel.onmessage = (event) => event.data === ASK && token && channel.postMessage({ token });
}

function fromAnotherTab() {
  return new Promise((resolve) => {
    const asking = new BroadcastChannel("legible");
    const end = (value) => { asking.close(); resolve(value); };
    const timer = setTimeout(() => end(null), WAIT);
    asking.onmessage = (event) => {
      if (typeof event.data?.token !== "string") return;
      clearTimeout(timer);
      end(event.data.token);
    };
    asking.postMessage(ASK);
  });
}

/** One request, one answer. */
export const get = (path) => call("GET", path);
export const post = (path, body, signal) => call("POST", path, body, signal);

async function call(method, path, body, signal) {
  const response = await send(method, path, body, signal);
  return response.json();
}

/** A streamed request: `take` gets every frame in order. Aborting the signal stops the work on the server. */
export async function stream(path, body, take, signal) {
  const response = await send("POST", path, { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read().catch((error) => { throw explained(error); });
    if (done) throw new ApiError("the answer broke off: the server stopped, or the connection was lost.");
    const parts = (held + value).split("\n\n");
    held = parts.pop();
    for (const part of parts) {
      if (!part.startsWith("data: ")) continue;
      if (part === "data: [DONE]") return;
      const frame = JSON.parse(part.slice(6));
      if (frame.type === "error") throw new ApiError(frame.error, 500);
      take(frame);
    }
  }
}

async function send(method, path, body, signal) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body) headers["content-type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), signal, cache: "no-store", credentials: "omit" };
  const response = await fetch(path, options).catch((error) => { throw explained(error); });
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  const wait = response.headers.get("retry-after");
  throw new ApiError(`${said.error ?? `the server answered ${response.status}`}${wait ? ` Try again in ${wait} s.` : ""}`, response.status);
}

function explained(error) {
  return error.name === "AbortError" ? error : new ApiError("the server cannot be reached. Does `legible serve` still run?");
}
