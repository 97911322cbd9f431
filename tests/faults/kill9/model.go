package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
)

const (
	keysPerWriter = 4
	sharedKeys    = 4
	// keptVersions is how many versions of a secret the engine keeps (its own default).
	keptVersions = 10
	// secretIDUses is what the limited secret ids are made for.
	secretIDUses = 6
)

// secret is one KV version 2 key. Several writers may try to write a shared one at once.
type secret struct {
	path    string
	mutex   sync.Mutex
	current int            // the newest version that was acknowledged or found
	written map[int]string // what stands in each version
	open    []attempt      // writes without an answer
}

// attempt is a write that would make version `version` if it succeeded.
type attempt struct {
	version int
	value   string
}

// token is one that a writer created. `name` is in its metadata, so that it is known when found without its id.
type token struct {
	id, accessor, name string
	children           []*token
	revoking           bool // a revocation without an answer is under way
	// revoked: the revocation of this token, or of its parent, was acknowledged.
	revoked bool
}

// family is a token and all that were created under it.
func (t *token) family() []*token {
	all := []*token{t}
	for _, child := range t.children {
		all = append(all, child.family()...)
	}
	return all
}

// secretID is one of the AppRole's. The tokens of its logins carry its name.
type secretID struct {
	id, accessor, name string
	uses               int // what it was created for; 0 is without limit
	logins             int // acknowledged or found
	openLogins         int
	destroying         bool
}

// model is what must be so, by what the server acknowledged.
type model struct {
	options options
	root    *client
	roleID  string
	secrets []*secret
	writers []*writer
	// What a round left in the dark, and found again after the restart, or not.
	openTokens    map[string]bool
	openSecretIDs map[string]bool
	revoked       []*token
	requests      map[string]bool // acknowledged requests of the round, to be found in the audit file
	auditOffset   int64
	mutex         sync.Mutex
	counts        counts
	findings      []string // what is not as it must be
}

// counts is for the person who watches.
type counts struct {
	acknowledged, open, landed int
	accessors, leases          int
	// leftovers are accessors and leases without a token, which only a lenient run goes on with.
	leftovers int
}

func (c counts) String() string {
	text := fmt.Sprintf("%d requests acknowledged, %d cut off of which %d had taken effect; now %d live tokens, %d leases",
		c.acknowledged, c.open, c.landed, c.accessors, c.leases)
	if c.leftovers > 0 {
		text += fmt.Sprintf(", %d accessors or leases without a token", c.leftovers)
	}
	return text
}

// writer works with things of its own, and with the shared secrets.
type writer struct {
	number    int
	model     *model
	client    *client
	random    *rand.Rand
	own       []*secret
	tokens    []*token
	secretIDs []*secretID
	serial    int
}

// prepare mounts, writes policies and makes the writers.
func prepare(server *server, o options) (*model, error) {
	root := server.root
	m := &model{options: o, root: root, openTokens: map[string]bool{}, openSecretIDs: map[string]bool{}, requests: map[string]bool{}}
	policy := `path "kv/*" { capabilities = ["create", "read", "update"] }
path "auth/token/*" { capabilities = ["create", "update"] }
path "auth/approle/*" { capabilities = ["create", "read", "update"] }`
	for _, step := range []struct {
		path string
		body object
	}{
		{"sys/mounts/kv", object{"type": "kv", "options": object{"version": "2"}}},
		{"sys/auth/approle", object{"type": "approle"}},
		{"sys/policies/acl/writer", object{"policy": policy}},
		{"auth/approle/role/app", object{"token_policies": "default", "token_ttl": "24h"}},
	} {
		if done := root.do("POST", step.path, step.body); !done.acknowledged() {
			return nil, done.failure()
		}
	}
	role := root.do("GET", "auth/approle/role/app/role-id", nil)
	if m.roleID = role.text("data", "role_id"); m.roleID == "" {
		return nil, role.failure()
	}
	for n := range sharedKeys {
		m.secrets = append(m.secrets, &secret{path: fmt.Sprintf("shared/%d", n), written: map[int]string{}})
	}
	for n := range o.writers {
		made := root.do("POST", "auth/token/create", object{"policies": []string{"writer"}, "ttl": "24h", "meta": object{"name": "writer"}})
		if !made.acknowledged() {
			return nil, made.failure()
		}
		w := &writer{number: n, model: m, client: newClient(server.address, made.text("auth", "client_token"), 1)}
		for k := range keysPerWriter {
			own := &secret{path: fmt.Sprintf("own/%d/%d", n, k), written: map[int]string{}}
			w.own = append(w.own, own)
			m.secrets = append(m.secrets, own)
		}
		m.writers = append(m.writers, w)
	}
	return m, nil
}

// noted counts an answer and remembers an acknowledged request's id.
func (m *model) noted(a answer) answer {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	switch {
	case a.acknowledged():
		m.counts.acknowledged++
		if id := a.text("request_id"); id != "" {
			m.requests[id] = true
		}
	case a.open():
		m.counts.open++
	}
	return a
}

func (m *model) landed() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.counts.landed++
}

// liveTokens are those that must work, with the revocations under way left out.
func (m *model) liveTokens() map[string]*token {
	live := map[string]*token{}
	for _, w := range m.writers {
		for _, t := range w.tokens {
			for _, one := range t.family() {
				live[one.accessor] = one
			}
		}
	}
	return live
}

func (m *model) liveSecretIDs() map[string]*secretID {
	live := map[string]*secretID{}
	for _, w := range m.writers {
		for _, s := range w.secretIDs {
			live[s.accessor] = s
		}
	}
	return live
}

// forget drops versions that the engine no longer keeps.
func (s *secret) forget() {
	maps.DeleteFunc(s.written, func(version int, _ string) bool { return version <= s.current-keptVersions })
}
