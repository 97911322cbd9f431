// The common part of the pages that log people in: asking the API, and logins with their second factors. Such a page has the forms
// `login` and `second`. The token is kept in the page's memory and nowhere else.

export const part = (id) => document.getElementById(id);

let token = "";

export function forget() {
  token = "";
}

export function say(text) {
  part("message").textContent = text;
  part("message").hidden = text === "";
}

export async function ask(method, path, body, withToken) {
  const headers = { "X-Vault-Request": "true" };
  if (withToken) headers["X-Vault-Token"] = token;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: body && JSON.stringify(body), cache: "no-store", credentials: "omit" };
  const answer = await fetch(path, options);
  return { status: answer.status, body: await answer.json().catch(() => ({})) };
}

export function described(answer) {
  const { errors, error_description: description } = answer.body;
  return description || (errors && errors.join(" ").replace(/\s+/g, " ").trim()) || `status ${answer.status}`;
}

// The data of an answer that has to be good.
export async function asked(method, path, body, withToken) {
  const answer = await ask(method, path, body, withToken);
  if (answer.status !== 200 && answer.status !== 204) throw new Error(described(answer));
  return answer.body.data;
}

export function failing(act) {
  return async (event) => {
    event.preventDefault();
    say("");
    try {
      await act(event);
    } catch (error) {
      say(error.message);
    }
  };
}

export function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function decoded(text) {
  const bytes = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
  return Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
}

function encoded(buffer) {
  const bytes = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
  return btoa(bytes).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

// The JSON form of a credential (Web Authentication Level 3), of which the API reads these members.
function written(credential, response) {
  return { id: credential.id, rawId: encoded(credential.rawId), type: credential.type, response };
}

function known(descriptors) {
  return descriptors.map((descriptor) => ({ ...descriptor, id: decoded(descriptor.id) }));
}

// Has a passkey answer a challenge.
export async function signed(options) {
  if (!navigator.credentials) throw new Error("Passkeys need a page over HTTPS, and a browser that knows them.");
  const publicKey = { ...options, challenge: decoded(options.challenge), allowCredentials: known(options.allowCredentials) };
  const credential = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  return written(credential, {
    clientDataJSON: encoded(clientDataJSON),
    authenticatorData: encoded(authenticatorData),
    signature: encoded(signature),
    userHandle: userHandle ? encoded(userHandle) : undefined,
  });
}

// Makes a passkey.
export async function made(options) {
  if (!navigator.credentials) throw new Error("Passkeys need a page over HTTPS, and a browser that knows them.");
  const publicKey = {
    ...options,
    challenge: decoded(options.challenge),
    user: { ...options.user, id: decoded(options.user.id) },
    excludeCredentials: known(options.excludeCredentials),
  };
  const credential = await navigator.credentials.create({ publicKey });
  const { clientDataJSON, attestationObject } = credential.response;
  const transports = credential.response.getTransports ? credential.response.getTransports() : [];
  return written(credential, {
    clientDataJSON: encoded(clientDataJSON),
    attestationObject: encoded(attestationObject),
    transports,
  });
}

function showMethod() {
  const method = new FormData(part("login")).get("method");
  part("with-userpass").hidden = method !== "userpass";
  part("with-token").hidden = method !== "token";
}

// A choice of methods for each enforcement, and a field for each passcode. Of one enforcement, the first method is chosen.
function showSecond(constraints) {
  const fields = [];
  for (const [index, constraint] of Object.values(constraints).entries()) {
    const choices = element("fieldset", {});
    for (const [at, method] of constraint.any.entries()) {
      const choice = element("input", { type: "radio", name: `constraint-${index}`, value: method.id, checked: at === 0 });
      const kind = method.type === "webauthn" ? "Passkey" : method.type === "totp" ? "Passcode" : method.type;
      choices.append(element("label", {}, choice, ` ${kind}${method.name ? ` (${method.name})` : ""}`));
      if (!method.uses_passcode) continue;
      const passcode = element("input", { name: `passcode-${index}-${method.id}`, autocomplete: "one-time-code", inputMode: "numeric" });
      choices.append(element("label", {}, "Passcode ", passcode));
    }
    fields.push(choices);
  }
  part("factors").replaceChildren(...fields);
}

// The second factors that the form has, as `sys/mfa/validate` takes them.
async function given(namespace, requirement) {
  const form = new FormData(part("second"));
  const payload = {};
  for (const [index, constraint] of Object.values(requirement.mfa_constraints).entries()) {
    const chosen = constraint.any.find((method) => method.id === form.get(`constraint-${index}`));
    if (!chosen || payload[chosen.id]) continue;
    if (chosen.type === "webauthn") {
      const wanted = { mfa_request_id: requirement.mfa_request_id, mfa_method_id: chosen.id };
      const data = await asked("POST", `/v1/${namespace}sys/mfa/challenge`, wanted, false);
      payload[chosen.id] = await signed(data.public_key);
    } else {
      payload[chosen.id] = [String(form.get(`passcode-${index}-${chosen.id}`) || "").trim()];
    }
  }
  return payload;
}

// Waits until a login has its second factors.
function conclude(namespace, requirement) {
  showSecond(requirement.mfa_constraints);
  part("login").hidden = true;
  part("second").hidden = false;
  return new Promise((resolve) => {
    part("second").onsubmit = failing(async () => {
      const input = { mfa_request_id: requirement.mfa_request_id, mfa_payload: await given(namespace, requirement) };
      const answer = await ask("POST", `/v1/${namespace}sys/mfa/validate`, input, false);
      if (answer.status !== 200 || !answer.body.auth) throw new Error(described(answer));
      part("second").hidden = true;
      part("factors").replaceChildren();
      resolve(answer.body.auth.client_token);
    });
  });
}

async function logIn(form, namespace) {
  const given = (name) => String(form.get(name) || "").trim();
  if (form.get("method") === "token") {
    token = given("token");
    await asked("GET", `/v1/${namespace}auth/token/lookup-self`, null, true);
    return;
  }
  const mount = given("mount").split("/").map(encodeURIComponent).join("/");
  const path = `/v1/${namespace}auth/${mount}/login/${encodeURIComponent(given("username"))}`;
  const answer = await ask("POST", path, { password: String(form.get("password")) }, false);
  if (answer.status !== 200 || !answer.body.auth) throw new Error(described(answer));
  const requirement = answer.body.auth.mfa_requirement;
  token = requirement ? await conclude(namespace, requirement) : answer.body.auth.client_token;
}

// Calls `then` once somebody has logged in. `namespace` is told when the form is sent.
export function onLogin(namespace, then) {
  part("login").addEventListener("change", showMethod);
  part("login").addEventListener("submit", failing(async () => {
    const form = new FormData(part("login"));
    part("login").querySelector("[name=password]").value = "";
    await logIn(form, namespace(form));
    part("login").reset();
    part("login").hidden = true;
    await then();
  }));
}
