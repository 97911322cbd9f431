// The page at a provider's authorization endpoint. A client sends a person's browser here with its request in the query. The person
// logs in, is told who asks for what, and goes back to the client with a code, which the API gives: it alone decides whether there is
// one, and to which address it may go.
import { ask, described, failing, forget, onLogin, part, say } from "/ui/assets/login.js";

const query = new URLSearchParams(location.search);
// `/ui/vault/NAMESPACE/MOUNT/oidc/provider/NAME/authorize` is the page of the same path below `/v1/`.
const endpoint = location.pathname.replace(/^\/ui\/vault\//, "/v1/");
const namespace = endpoint.slice("/v1/".length).replace(/[^/]+\/oidc\/provider\/[^/]+\/authorize\/?$/, "");

function asked(name) {
  return query.get(name) || "";
}

// A parameter that is given twice is none (RFC 6749, section 3.1).
function isRepeated() {
  return [...query.keys()].some((name) => query.getAll(name).length > 1);
}

// Goes back to the client. The API has said that the address is one of its own.
function leave(members) {
  const target = new URL(asked("redirect_uri"));
  for (const [name, value] of Object.entries(members)) {
    if (value) target.searchParams.set(name, value);
  }
  location.replace(target);
}

async function grant() {
  const request = Object.fromEntries(query.entries());
  const answer = await ask("POST", endpoint, request, true);
  if (answer.status === 200) return leave({ code: answer.body.code, state: answer.body.state });
  // Nobody is sent to an address with an error: which one it could be is known only for requests that the API has taken.
  throw new Error(described(answer));
}

onLogin(() => namespace, () => {
  const scopes = asked("scope").split(/\s+/).filter((scope) => scope && scope !== "openid");
  const also = scopes.length ? `, and: ${scopes.join(", ")}` : "";
  part("asks").textContent = `The application will learn who you are${also}.`;
  part("consent").hidden = false;
});
part("consent").addEventListener("submit", failing(grant));
part("refuse").addEventListener("click", () => {
  forget();
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
