package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
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
