// The page on which people register and delete their passkeys, and those who may do so for others. `?method=ID` and `?namespace=PATH`
// fill in its fields.
import { asked, element, failing, made, onLogin, part, say } from "/ui/assets/login.js";

const query = new URLSearchParams(location.search);
const field = (name) => document.querySelector(`[name=${name}]`);
let namespace = "";

function isFilled(name) {
  return field(name).value.trim() !== "";
}

function methodId() {
  const id = field("method_id").value.trim();
  if (!id) throw new Error("Which MFA method?");
  return id;
}

function below(path) {
  return `/v1/${namespace}identity/mfa/method/webauthn/${path}`;
}

// The path of the passkeys that are shown: one's own, or an entity's.
function passkeys() {
  const method = encodeURIComponent(methodId());
  if (!isFilled("entity_id")) return below(`passkeys/${method}`);
  return below(`admin-passkeys/${method}/${encodeURIComponent(field("entity_id").value.trim())}`);
}

function row(id, info, path) {
  const remove = element("button", { type: "button", textContent: "Delete" });
  remove.addEventListener("click", failing(async () => {
    await asked("DELETE", `${path}/${id}`, null, true);
    await show();
  }));
  const used = info.last_used_time ? `last used ${info.last_used_time}` : "never used";
  return element("li", {}, `${info.name || id} (${info.algorithm}, registered ${info.creation_time}, ${used}) `, remove);
}

async function show() {
  const path = passkeys();
  const answer = await asked("GET", `${path}?list=true`, null, true).catch((error) => {
    // A list without items is a 404 without a text.
    if (error.message === "status 404") return null;
    throw error;
  });
  const infos = Object.entries(answer ? answer.key_info : {});
  const rows = infos.map(([id, info]) => row(id, info, path));
  part("list").replaceChildren(...(rows.length ? rows : [element("li", { textContent: "No passkeys" })]));
}

async function register() {
  const input = { method_id: methodId() };
  const prefix = isFilled("entity_id") ? "admin-register" : "register";
  if (isFilled("entity_id")) input.entity_id = field("entity_id").value.trim();
  const begun = await asked("POST", below(`${prefix}-begin`), { ...input, passkey_name: field("passkey_name").value }, true);
  const credential = await made(begun.public_key);
  await asked("POST", below(`${prefix}-finish`), { ...input, credential }, true);
  field("passkey_name").value = "";
  await show();
  say("The passkey is registered.");
}

function place(form) {
  const given = String(form.get("namespace") || "").trim().replace(/^\/+|\/+$/g, "");
  namespace = given ? `${given.split("/").map(encodeURIComponent).join("/")}/` : "";
  return namespace;
}

field("namespace").value = query.get("namespace") || "";
onLogin(place, async () => {
  part("passkeys").hidden = false;
  field("method_id").value = query.get("method") || "";
  // Not everybody may list methods: then their id is typed, or comes with the link.
  const known = await asked("GET", below("?list=true").replace("/?", "?"), null, true).catch(() => ({ keys: [], key_info: {} }));
  const options = known.keys.map((id) => element("option", { value: id, label: known.key_info[id].name || known.key_info[id].rp_id }));
  part("methods").replaceChildren(...options);
  if (!isFilled("method_id") && known.keys.length === 1) field("method_id").value = known.keys[0];
  if (isFilled("method_id")) await show();
});
part("choose").addEventListener("submit", failing(show));
part("register").addEventListener("submit", failing(register));
