package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// broken notes a finding; the round fails with it.
func (m *model) broken(format string, arguments ...any) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.findings = append(m.findings, fmt.Sprintf(format, arguments...))
}

// verify reads everything back and compares it with what was acknowledged.
func (m *model) verify(server *server, last bool) error {
	for _, check := range []func() error{
		func() error { return m.verifyAudit(server.auditFile()) },
		func() error { return parallel(m.secrets, m.verifySecret) },
		m.verifyTokens,
		m.verifySecretIDs,
		func() error { return m.verifyRevoked(last) },
		m.trim,
	} {
		if err := check(); err != nil {
			m.broken("%v", err)
		}
		if len(m.findings) > 0 {
			return errors.New(strings.Join(m.findings[:min(len(m.findings), 20)], "\n  "))
		}
	}
	return nil
}

// verifyAudit looks for the answer to each acknowledged request in what the audit file grew by.
func (m *model) verifyAudit(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Seek(m.auditOffset, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(file, 1<<20)
	torn := 0
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			// A last line without its end is what the kill broke off, or what is being written now.
			break
		}
		m.auditOffset += int64(len(line))
		var record struct {
			Type    string
			Request struct{ ID string }
		}
		if json.Unmarshal(line, &record) != nil {
			torn++
			continue
		}
		if record.Type == "response" {
			delete(m.requests, record.Request.ID)
		}
	}
	// One kill can break off one line, which the restarted server's first one then follows.
	if torn > 1 {
		m.broken("the audit file has %d lines that are no JSON", torn)
	}
	for id := range m.requests {
		m.broken("acknowledged, and not in the audit file: request %s (one of %d)", id, len(m.requests))
		break
	}
	clear(m.requests)
	return nil
}

// verifySecret compares a secret's versions with what was written.
func (m *model) verifySecret(s *secret) error {
	metadata := m.root.do("GET", "kv/metadata/"+s.path, nil)
	found := 0
	switch metadata.status {
	case 200:
		found = metadata.number("data", "current_version")
	case 404:
	default:
		return metadata.failure()
	}
	if found < s.current {
		return fmt.Errorf("%s: version %d was acknowledged, the newest is %d", s.path, s.current, found)
	}
	listed, _ := metadata.at("data", "versions").(object)
	newest := 0
	for version := range listed {
		number, _ := strconv.Atoi(version)
		newest = max(newest, number)
	}
	if newest != found {
		return fmt.Errorf("%s: the metadata says version %d and lists %d", s.path, found, newest)
	}
	for version := max(1, found-keptVersions+1); version <= found; version++ {
		if err := m.verifyVersion(s, version); err != nil {
			return err
		}
	}
	if above := m.root.do("GET", fmt.Sprintf("kv/data/%s?version=%d", s.path, found+1), nil); above.status != 404 {
		return fmt.Errorf("%s: version %d is there and not in the metadata: %s", s.path, found+1, above.raw)
	}
	s.current, s.open = found, nil
	s.forget()
	return nil
}

func (m *model) verifyVersion(s *secret, version int) error {
	read := m.root.do("GET", fmt.Sprintf("kv/data/%s?version=%d", s.path, version), nil)
	value := read.text("data", "data", "value")
	if read.status != 200 || read.number("data", "metadata", "version") != version {
		return read.failure()
	}
	if written, known := s.written[version]; known {
		if written != value {
			return fmt.Errorf("%s version %d: acknowledged as %.40q, reads as %.40q", s.path, version, written, value)
		}
		return nil
	}
	// Nobody was told of this version: it must be a write that was cut off, on top of the version it was based on.
	if !slices.Contains(s.open, attempt{version, value}) {
		return fmt.Errorf("%s version %d reads as %.40q, which nobody tried to write there", s.path, version, value)
	}
	s.written[version] = value
	m.landed()
	return nil
}

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
		if a := m.root.do("POST", "auth/token/revoke-accessor", object{"accessor": one.accessor}); !a.acknowledged() {
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

// trim revokes and destroys what is more than the next rounds need, so that a check stays short.
func (m *model) trim() error {
	each := max(1, m.options.live/len(m.writers))
	return parallel(m.writers, func(w *writer) error {
		for total := families(w.tokens); total > each && len(w.tokens) > 0; total = families(w.tokens) {
			if a := m.root.do("POST", "auth/token/revoke", object{"token": w.tokens[0].id}); !a.acknowledged() {
				return a.failure()
			}
			m.gone(w.tokens[0])
			w.tokens = w.tokens[1:]
		}
		for len(w.secretIDs) > each {
			if a := m.root.do("POST", "auth/approle/role/app/secret-id/destroy", object{"secret_id": w.secretIDs[0].id}); !a.acknowledged() {
				return a.failure()
			}
			w.secretIDs = w.secretIDs[1:]
		}
		return nil
	})
}

func families(tokens []*token) int {
	total := 0
	for _, t := range tokens {
		total += len(t.family())
	}
	return total
}
