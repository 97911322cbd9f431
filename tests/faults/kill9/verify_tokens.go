package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// found is what the server says of one accessor.
type found struct {
	accessor, name, path string
}

// verifyTokens compares the accessors, tokens and leases with each other and with the model.
func (m *model) verifyTokens() error {
	list := m.root.do("LIST", "auth/token/accessors", nil)
	if list.status != 200 {
		return list.failure()
	}
	var mutex sync.Mutex
	var all []found
	leftovers := 0
	err := parallel(list.strings("data", "keys"), func(accessor string) error {
		looked := m.root.do("POST", "auth/token/lookup-accessor", object{"accessor": accessor})
		if m.options.lenient && looked.status == 403 {
			mutex.Lock()
			defer mutex.Unlock()
			leftovers++
			return nil
		}
		if looked.status != 200 || looked.text("data", "accessor") != accessor {
			return fmt.Errorf("an accessor without a token: %w", looked.failure())
		}
		name := looked.text("data", "meta", "name")
		mutex.Lock()
		defer mutex.Unlock()
		all = append(all, found{accessor, name, looked.text("data", "path")})
		return nil
	})
	if err != nil {
		return err
	}
	m.counts.accessors, m.counts.leftovers = len(all), leftovers
	if err := m.verifyLeases(all); err != nil {
		return err
	}
	return m.compareTokens(all)
}

// verifyLeases counts leases and tokens by the path that made them: as many of the one as of the other.
func (m *model) verifyLeases(all []found) error {
	m.counts.leases = 0
	for _, path := range []string{"auth/token/create", "auth/approle/login"} {
		tokens := 0
		for _, one := range all {
			if one.path == path {
				tokens++
			}
		}
		list := m.root.do("LIST", "sys/leases/lookup/"+path, nil)
		if list.status != 200 && list.status != 404 {
			return list.failure()
		}
		leases := list.strings("data", "keys")
		m.counts.leases += len(leases)
		if m.options.lenient {
			m.counts.leftovers += max(len(leases)-tokens, tokens-len(leases))
			continue
		}
		if len(leases) != tokens {
			return fmt.Errorf("%d leases under %s, and %d tokens from there", len(leases), path, tokens)
		}
		err := parallel(leases, func(id string) error {
			if lease := m.root.do("PUT", "sys/leases/lookup", object{"lease_id": path + "/" + id}); lease.status != 200 {
				return lease.failure()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// compareTokens explains every token that is there and finds every one that must be.
func (m *model) compareTokens(all []found) error {
	live := m.liveTokens()
	there := map[string]bool{}
	secretIDs := map[string]*secretID{}
	for _, s := range m.liveSecretIDs() {
		secretIDs[s.name] = s
	}
	var strangers []found
	for _, one := range all {
		there[one.accessor] = true
		if live[one.accessor] == nil && one.name != "writer" && one.path != "auth/token/root" {
			strangers = append(strangers, one)
		}
	}
	for _, one := range strangers {
		switch s := secretIDs[one.name]; {
		case one.path == "auth/token/create" && m.openTokens[one.name]:
			// At most one token for one attempt.
			delete(m.openTokens, one.name)
		case one.path == "auth/approle/login" && s != nil && s.openLogins > 0:
			s.openLogins--
			s.logins++
		case !m.wasRevoked(one.accessor):
			m.broken("a token nobody asked for: %+v", one)
			continue
		case m.options.lenient:
			// Vault and OpenBao finish a revocation in the background; verifyRevoked tries whether it holds.
			m.counts.leftovers++
			continue
		default:
			m.broken("a revoked token is there again: %+v", one)
			continue
		}
		m.landed()
		if a := m.root.do("POST", "auth/token/revoke-accessor", object{"accessor": one.accessor}); !a.acknowledged() && !m.options.lenient {
			return a.failure()
		}
	}
	clear(m.openTokens)
	var expected []*token
	for _, w := range m.writers {
		w.tokens = slices.DeleteFunc(w.tokens, func(t *token) bool { return m.settle(t, there) })
		for _, t := range w.tokens {
			expected = append(expected, t.family()...)
		}
	}
	return parallel(expected, func(t *token) error {
		looked := m.root.as(t.id).do("GET", "auth/token/lookup-self", nil)
		if looked.status != 200 || looked.text("data", "accessor") != t.accessor {
			return fmt.Errorf("an acknowledged token does not work: %w", looked.failure())
		}
		return nil
	})
}

func (m *model) wasRevoked(accessor string) bool {
	return slices.ContainsFunc(m.revoked, func(t *token) bool { return t.accessor == accessor })
}

// settle decides about a token whose revocation was cut off: wholly gone (true), or wholly there.
func (m *model) settle(t *token, there map[string]bool) bool {
	family := t.family()
	present := 0
	for _, one := range family {
		if there[one.accessor] {
			present++
		}
	}
	switch {
	case !t.revoking && present < len(family):
		m.broken("an acknowledged token is lost: %d of the %d in the family of %s are there", present, len(family), t.name)
		return false
	case !t.revoking:
		return false
	case m.options.lenient:
		return m.finishRevocation(family, there)
	case present == len(family):
		for _, one := range family {
			one.revoking = false
		}
		return false
	case present > 0:
		m.broken("a revocation is half done: %d of the %d in the family of %s are there", present, len(family), t.name)
		return false
	}
	m.landed()
	m.gone(t)
	return true
}

// finishRevocation revokes again what a server without transactions may have half revoked.
func (m *model) finishRevocation(family []*token, there map[string]bool) bool {
	for _, one := range family {
		if !there[one.accessor] {
			continue
		}
		if a := m.root.do("POST", "auth/token/revoke", object{"token": one.id}); !a.acknowledged() {
			m.broken("%v", a.failure())
		}
	}
	m.gone(family[0])
	return true
}

// verifyRevoked tries tokens whose revocation was acknowledged: the newest, some old ones, at the end all.
func (m *model) verifyRevoked(all bool) error {
	const newest, old = 200, 50
	tried := m.revoked
	if !all && len(tried) > newest+old {
		tried = slices.Clone(m.revoked[len(m.revoked)-newest:])
		for range old {
			tried = append(tried, m.revoked[rand.IntN(len(m.revoked))])
		}
	}
	return parallel(tried, func(t *token) error {
		if looked := m.root.as(t.id).do("GET", "auth/token/lookup-self", nil); looked.status != 403 {
			return fmt.Errorf("a revoked token (%s) still works: %s", t.name, looked.raw)
		}
		return nil
	})
}
