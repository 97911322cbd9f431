// The page at a provider's authorization endpoint. A client sends a person's browser here with its request in the query. The person
// logs in, is told who asks for what, and goes back to the client with a code, which the API gives: it alone decides whether there is
// one, and to which address it may go. The token is kept in this page's memory and nowhere else.
"use strict";

const query = new URLSearchParams(location.search);
// `/ui/vault/NAMESPACE/MOUNT/oidc/provider/NAME/authorize` is the page of the same path below `/v1/`.
const endpoint = location.pathname.replace(/^\/ui\/vault\//, "/v1/");
const namespace = endpoint.slice("/v1/".length).replace(/[^/]+\/oidc\/provider\/[^/]+\/authorize\/?$/, "");
const part = (id) => document.getElementById(id);
let token = "";

function say(text) {
  part("message").textContent = text;
  part("message").hidden = text === "";
}

function asked(name) {
  return query.get(name) || "";
}

// A parameter that is given twice is none (RFC 6749, section 3.1).
function isRepeated() {
  return [...query.keys()].some((name) => query.getAll(name).length > 1);
}

async function ask(method, path, body, withToken) {
  const headers = { "X-Vault-Request": "true" };
  if (withToken) headers["X-Vault-Token"] = token;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit" };
  const answer = await fetch(path, options);
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

function described(answer) {
  const { errors, error_description: description } = answer.body;
  return description || (errors && errors.join(" ").replace(/\s+/g, " ").trim()) || `status ${answer.status}`;
}

// Goes back to the client. The API has said that the address is one of its own.
function leave(members) {
  const target = new URL(asked("redirect_uri"));
  for (const [name, value] of Object.entries(members)) {
    if (value) target.searchParams.set(name, value);
  }
  location.replace(target);
}

function showMethod() {
  const method = new FormData(part("login")).get("method");
  part("with-userpass").hidden = method !== "userpass";
  part("with-token").hidden = method !== "token";
}

async function logIn(form) {
  const given = (name) => String(form.get(name) || "").trim();
  if (form.get("method") === "token") {
    token = given("token");
    const found = await ask("GET", `/v1/${namespace}auth/token/lookup-self`, null, true);
    if (found.status !== 200) throw new Error(described(found));
    return;
  }
  const mount = given("mount").split("/").map(encodeURIComponent).join("/");
  const path = `/v1/${namespace}auth/${mount}/login/${encodeURIComponent(given("username"))}`;
  const made = await ask("POST", path, { password: String(form.get("password")) }, false);
  if (made.status !== 200 || !made.body.auth) throw new Error(described(made));
  token = made.body.auth.client_token;
}

async function grant() {
  const request = Object.fromEntries(query.entries());
  const answer = await ask("POST", endpoint, request, true);
  if (answer.status === 200) return leave({ code: answer.body.code, state: answer.body.state });
  // Nobody is sent to an address with an error: which one it could be is known only for requests that the API has taken.
  throw new Error(described(answer));
}

function failing(act) {
  return async (event) => {
    event.preventDefault();
    say("");
    try {
      await act();
    } catch (error) {
      say(error.message);
    }
  };
}

part("login").addEventListener("change", showMethod);
part("login").addEventListener("submit", failing(async () => {
  await logIn(new FormData(part("login")));
  part("login").reset();
  part("login").hidden = true;
  const scopes = asked("scope").split(/\s+/).filter((scope) => scope && scope !== "openid");
  const also = scopes.length ? `, and: ${scopes.join(", ")}` : "";
  part("asks").textContent = `The application will learn who you are${also}.`;
  part("consent").hidden = false;
}));
part("consent").addEventListener("submit", failing(grant));
part("refuse").addEventListener("click", () => {
  token = "";
  part("consent").hidden = true;
  say("You have not logged in to the application. You can close this page.");
});

if (isRepeated()) {
  part("login").hidden = true;
  say("The application has given a parameter twice.");
} else {
  let host = "";
  try {
    host = new URL(asked("redirect_uri")).host;
  } catch {
    host = "an unknown address";
  }
  part("who").textContent = `An application at ${host} asks you to log in.`;
}
