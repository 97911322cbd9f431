package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const startLimit = 60 * time.Second

// server is the process under test, its configuration and storage in a directory of its own.
type server struct {
	binary, folder string
	address        string
	share          string
	root           *client
	process        *exec.Cmd
	exited         chan error
}

func newServer(binary string) (*server, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	version, err := exec.Command(binary, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s version: %w", binary, err)
	}
	folder, err := os.MkdirTemp("", "strongroom-kill9-")
	if err != nil {
		return nil, err
	}
	api, cluster, err := freePorts()
	if err != nil {
		return nil, err
	}
	// OpenBao takes audit devices from the configuration unless told otherwise; Vault takes them from the API.
	peer := ""
	if strings.HasPrefix(string(version), "OpenBao") {
		peer = "unsafe_allow_api_audit_creation = true"
	}
	data := filepath.Join(folder, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`storage "raft" {
  path = %q
  node_id = "node1"
}

listener "tcp" {
  address = "127.0.0.1:%d"
  cluster_address = "127.0.0.1:%d"
  tls_disable = true
}

api_addr = "http://127.0.0.1:%d"
cluster_addr = "https://127.0.0.1:%d"
disable_mlock = true
log_level = "warn"
%s
`, data, api, cluster, api, cluster, peer)
	s := &server{binary: binary, folder: folder, address: fmt.Sprintf("http://127.0.0.1:%d", api)}
	return s, os.WriteFile(s.path("server.hcl"), []byte(config), 0o600)
}

// freePorts finds two ports that nobody listens on now.
func freePorts() (int, int, error) {
	var ports [2]int
	for n := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		defer listener.Close()
		ports[n] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1], nil
}

func (s *server) path(name string) string { return filepath.Join(s.folder, name) }

func (s *server) auditFile() string { return s.path("audit.log") }

// start starts the process and waits until it answers.
func (s *server) start() error {
	log, err := os.OpenFile(s.path("server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process = exec.Command(s.binary, "server", "-config="+s.path("server.hcl"))
	s.process.Stdout, s.process.Stderr = log, log
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "VAULT_") && !strings.HasPrefix(variable, "BAO_") {
			s.process.Env = append(s.process.Env, variable)
		}
	}
	if err := s.process.Start(); err != nil {
		return err
	}
	s.exited = make(chan error, 1)
	go func(process *exec.Cmd, exited chan<- error) { exited <- process.Wait() }(s.process, s.exited)
	return s.waitFor("to answer", func(status int) bool { return status != 0 })
}

// waitFor polls sys/health until `ready` likes its status (0: no answer).
func (s *server) waitFor(what string, ready func(int) bool) error {
	anyone := newClient(s.address, "", 1)
	defer anyone.close()
	for until := time.Now().Add(startLimit); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-s.exited:
			s.exited <- err
			return fmt.Errorf("the server ended instead: %v", err)
		default:
		}
		if ready(anyone.do("GET", "sys/health", nil).status) {
			return nil
		}
	}
	return fmt.Errorf("the server took more than %v %s", startLimit, what)
}

// initialise makes one share, unseals and enables the audit device.
func (s *server) initialise() error {
	anyone := newClient(s.address, "", 1)
	made := anyone.do("PUT", "sys/init", object{"secret_shares": 1, "secret_threshold": 1})
	if made.status != 200 {
		return made.failure()
	}
	s.share = made.strings("keys")[0]
	s.root = newClient(s.address, made.text("root_token"), 16)
	if err := s.unseal(); err != nil {
		return err
	}
	enabled := s.root.do("PUT", "sys/audit/file", object{"type": "file", "options": object{"file_path": s.auditFile()}})
	if enabled.status != 204 {
		return enabled.failure()
	}
	return nil
}

func (s *server) unseal() error {
	anyone := newClient(s.address, "", 1)
	defer anyone.close()
	if answer := anyone.do("PUT", "sys/unseal", object{"key": s.share}); answer.status != 200 {
		return answer.failure()
	}
	return s.waitFor("to become active", func(status int) bool { return status == 200 })
}

// kill ends the process as a power cut would.
func (s *server) kill() {
	_ = s.process.Process.Kill()
	<-s.exited
	s.exited <- errors.New("killed")
	if s.root != nil {
		s.root.close()
	}
}

// stop asks the process to end, and insists.
func (s *server) stop() {
	if s.process == nil || s.process.Process == nil {
		return
	}
	_ = s.process.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		s.exited <- err
	case <-time.After(15 * time.Second):
		s.kill()
	}
}

func (s *server) remove() error { return os.RemoveAll(s.folder) }

// lastLog is the end of what the server printed.
func (s *server) lastLog() string {
	text, _ := os.ReadFile(s.path("server.log"))
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-15):], []byte("\n"))) + "\n"
}
