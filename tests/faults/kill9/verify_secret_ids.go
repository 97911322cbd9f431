package main

import (
	"fmt"
	"slices"
)

// verifySecretIDs compares the secret ids that the role lists with the model, and the uses they have left.
func (m *model) verifySecretIDs() error {
	list := m.root.do("LIST", "auth/approle/role/app/secret-id", nil)
	if list.status != 200 && list.status != 404 {
		return list.failure()
	}
	live := m.liveSecretIDs()
	there := map[string]bool{}
	for _, accessor := range list.strings("data", "keys") {
		there[accessor] = true
		if live[accessor] != nil {
			continue
		}
		looked := m.root.do("POST", "auth/approle/role/app/secret-id-accessor/lookup", object{"secret_id_accessor": accessor})
		name := looked.text("data", "metadata", "name")
		if looked.status != 200 || !m.openSecretIDs[name] {
			return fmt.Errorf("a secret id nobody asked for, or one that was used up or destroyed: %w", looked.failure())
		}
		delete(m.openSecretIDs, name)
		m.landed()
		if a := m.root.do("POST", "auth/approle/role/app/secret-id-accessor/destroy", object{"secret_id_accessor": accessor}); !a.acknowledged() {
			return a.failure()
		}
	}
	clear(m.openSecretIDs)
	for _, w := range m.writers {
		w.secretIDs = slices.DeleteFunc(w.secretIDs, func(s *secretID) bool { return m.settleSecretID(s, there[s.accessor]) })
	}
	return nil
}

// settleSecretID checks one secret id and says whether it is gone, and rightly so.
func (m *model) settleSecretID(s *secretID, there bool) bool {
	usedUp := s.uses > 0 && s.logins == s.uses
	if !there {
		// Without transactions the last use may be taken and its token not be there.
		perhaps := m.options.lenient && s.uses > 0 && s.logins+s.openLogins >= s.uses
		if !s.destroying && !usedUp && !perhaps {
			m.broken("an acknowledged secret id is lost: %s", s.name)
		}
		if s.destroying {
			m.landed()
		}
		return true
	}
	looked := m.root.do("POST", "auth/approle/role/app/secret-id/lookup", object{"secret_id": s.id})
	if looked.status != 200 || looked.text("data", "secret_id_accessor") != s.accessor {
		m.broken("a listed secret id cannot be looked up: %v", looked.failure())
		return true
	}
	if s.uses > 0 {
		left, expected := looked.number("data", "secret_id_num_uses"), s.uses-s.logins
		// Without transactions a login that was cut off may have taken a use and made no token.
		if left != expected && !(m.options.lenient && left < expected && left >= expected-s.openLogins) {
			m.broken("secret id %s: made for %d uses, %d logins made a token, %d uses are left", s.name, s.uses, s.logins, left)
		}
		s.logins = s.uses - left
	}
	s.openLogins, s.destroying = 0, false
	return false
}
