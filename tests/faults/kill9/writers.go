package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errOver says that the server is gone, or has answered what it must not: the writer stops.
var errOver = errors.New("over")

// work sends one request after another until the server is gone.
func (w *writer) work(round int) {
	operations := []struct {
		weight int
		do     func(name string) error
	}{
		{30, func(name string) error { return w.write(w.own[w.random.IntN(len(w.own))], name) }},
		{15, func(name string) error { return w.write(w.model.secrets[w.random.IntN(sharedKeys)], name) }},
		{15, w.createToken},
		{8, w.createChild},
		{10, w.revoke},
		{8, w.createSecretID},
		{12, w.login},
		{4, w.destroySecretID},
	}
	total := 0
	for _, operation := range operations {
		total += operation.weight
	}
	for {
		pick := w.random.IntN(total)
		w.serial++
		name := fmt.Sprintf("%d-%d-%d", round, w.number, w.serial)
		for _, operation := range operations {
			if pick -= operation.weight; pick < 0 {
				if operation.do(name) != nil {
					w.client.close()
					return
				}
				break
			}
		}
	}
}

func (w *writer) send(method, path string, body any) answer {
	return w.model.noted(w.client.do(method, path, body))
}

// write stores a value of a secret over the version that the writer believes current.
func (w *writer) write(s *secret, name string) error {
	s.mutex.Lock()
	based := s.current
	tried := attempt{version: based + 1, value: name + strings.Repeat("x", w.random.IntN(2000))}
	s.open = append(s.open, tried)
	s.mutex.Unlock()
	a := w.send("POST", "kv/data/"+s.path, object{"data": object{"value": tried.value}, "options": object{"cas": based}})
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if a.open() {
		return errOver
	}
	s.open = slices.DeleteFunc(s.open, func(o attempt) bool { return o.value == tried.value })
	if a.acknowledged() {
		if other, taken := s.written[tried.version]; taken || a.number("data", "version") != tried.version {
			w.model.broken("%s: two writes were acknowledged as version %d: %q and %q (%s)", s.path, tried.version, other, tried.value, a.raw)
			return errOver
		}
		s.written[tried.version] = tried.value
		s.current = max(s.current, tried.version)
		s.forget()
		return nil
	}
	if a.status == 400 && strings.Contains(a.raw, "check-and-set") && strings.HasPrefix(s.path, "shared/") {
		return nil
	}
	return w.unexpected(a)
}

func (w *writer) createToken(name string) error {
	made, err := w.newToken(w.client, name)
	if err == nil {
		w.tokens = append(w.tokens, made)
	}
	return err
}

// newToken creates a token under the client's.
func (w *writer) newToken(under *client, name string) (*token, error) {
	w.model.begun(w.model.openTokens, name)
	// The children are given the right to be parents as well.
	a := w.model.noted(under.do("POST", "auth/token/create", object{"ttl": "24h", "meta": object{"name": name}, "policies": []string{"writer"}}))
	if a.open() {
		return nil, errOver
	}
	w.model.ended(w.model.openTokens, name)
	if !a.acknowledged() {
		return nil, w.unexpected(a)
	}
	return &token{id: a.text("auth", "client_token"), accessor: a.text("auth", "accessor"), name: name}, nil
}

func (w *writer) createChild(name string) error {
	if len(w.tokens) == 0 {
		return nil
	}
	parent := w.tokens[w.random.IntN(len(w.tokens))]
	if family := parent.family(); len(family) < 5 {
		parent = family[w.random.IntN(len(family))]
	}
	if parent.name == "login" {
		return nil
	}
	made, err := w.newToken(w.client.as(parent.id), name)
	if err == nil {
		parent.children = append(parent.children, made)
	}
	return err
}

// revoke revokes one of the writer's tokens, and with it its children.
func (w *writer) revoke(string) error {
	if len(w.tokens) == 0 {
		return nil
	}
	at := w.random.IntN(len(w.tokens))
	chosen := w.tokens[at]
	for _, one := range chosen.family() {
		one.revoking = true
	}
	a := w.send("POST", "auth/token/revoke", object{"token": chosen.id})
	if a.open() {
		return errOver
	}
	if !a.acknowledged() {
		return w.unexpected(a)
	}
	w.tokens = slices.Delete(w.tokens, at, at+1)
	w.model.gone(chosen)
	return nil
}

func (w *writer) createSecretID(name string) error {
	uses := secretIDUses * w.random.IntN(2)
	w.model.begun(w.model.openSecretIDs, name)
	a := w.send("POST", "auth/approle/role/app/secret-id", object{"metadata": fmt.Sprintf(`{"name":%q}`, name), "num_uses": uses})
	if a.open() {
		return errOver
	}
	w.model.ended(w.model.openSecretIDs, name)
	if !a.acknowledged() {
		return w.unexpected(a)
	}
	w.secretIDs = append(w.secretIDs, &secretID{
		id: a.text("data", "secret_id"), accessor: a.text("data", "secret_id_accessor"), name: name, uses: uses})
	return nil
}

// login takes one use of a secret id and makes one token.
func (w *writer) login(string) error {
	if len(w.secretIDs) == 0 {
		return nil
	}
	at := w.random.IntN(len(w.secretIDs))
	chosen := w.secretIDs[at]
	chosen.openLogins++
	a := w.model.noted(w.client.as("").do("POST", "auth/approle/login", object{"role_id": w.model.roleID, "secret_id": chosen.id}))
	if a.open() {
		return errOver
	}
	chosen.openLogins--
	if !a.acknowledged() {
		return w.unexpected(a)
	}
	chosen.logins++
	w.tokens = append(w.tokens, &token{id: a.text("auth", "client_token"), accessor: a.text("auth", "accessor"), name: "login"})
	if chosen.uses > 0 && chosen.logins == chosen.uses {
		w.secretIDs = slices.Delete(w.secretIDs, at, at+1)
	}
	return nil
}

func (w *writer) destroySecretID(string) error {
	if len(w.secretIDs) == 0 {
		return nil
	}
	at := w.random.IntN(len(w.secretIDs))
	chosen := w.secretIDs[at]
	chosen.destroying = true
	a := w.send("POST", "auth/approle/role/app/secret-id/destroy", object{"secret_id": chosen.id})
	if a.open() {
		return errOver
	}
	if !a.acknowledged() {
		return w.unexpected(a)
	}
	w.secretIDs = slices.Delete(w.secretIDs, at, at+1)
	return nil
}

// unexpected is a refusal that no rule of the load explains: something acknowledged is missing already.
func (w *writer) unexpected(a answer) error {
	w.model.broken("refused under load: %v", a.failure())
	return errOver
}

func (m *model) begun(open map[string]bool, name string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	open[name] = true
}

func (m *model) ended(open map[string]bool, name string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(open, name)
}

// gone notes an acknowledged revocation.
func (m *model) gone(t *token) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, one := range t.family() {
		one.revoked = true
		m.revoked = append(m.revoked, one)
	}
}
