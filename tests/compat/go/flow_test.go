// Package compat drives a running, not yet initialised server with HashiCorp's own Go client, unmodified.
// The steps depend on each other and run in order: initialise, unseal, policies, logins, secrets, wrapping,
// leases, audit, seal.
//
// VAULT_ADDR (and VAULT_CACERT) say where the server is, STRONGROOM_AUDIT_FILE where it may write its audit log.
package compat

import (
	"bytes"
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/api/auth/approle"
	"github.com/hashicorp/vault/api/auth/userpass"
)

// flow is what one step leaves for the next.
type flow struct {
	shares []string
	root   *vault.Client
	app    *vault.Client
	roleID string
}

var ctx = context.Background()

func newClient(t *testing.T, token string) *vault.Client {
	t.Helper()
	client, err := vault.NewClient(vault.DefaultConfig())
	must(t, err)
	client.SetToken(token)
	return client
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s: got %#v, want %#v", what, got, want)
	}
}

// refused checks that err is the server's refusal with the status and a text in its errors.
func refused(t *testing.T, err error, status int, text string) {
	t.Helper()
	var answer *vault.ResponseError
	if !errors.As(err, &answer) {
		t.Fatalf("want a response with status %d, got %v", status, err)
	}
	equal(t, "status of "+answer.URL, answer.StatusCode, status)
	if !strings.Contains(strings.Join(answer.Errors, "\n"), text) {
		t.Fatalf("errors %q do not contain %q", answer.Errors, text)
	}
}

func TestFlow(t *testing.T) {
	if os.Getenv("VAULT_ADDR") == "" {
		t.Skip("VAULT_ADDR is not set: run tests/compat/run")
	}
	f := &flow{}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"Initialise", f.initialise}, {"Unseal", f.unseal}, {"Health", f.health}, {"Audit", f.enableAudit},
		{"Policies", f.policies}, {"Mounts", f.mounts}, {"AppRoleLogin", f.appRoleLogin}, {"AppRoleWrapped", f.appRoleWrapped},
		{"Userpass", f.userpass}, {"KVv1", f.kvV1}, {"KVv2", f.kvV2}, {"KVv2Patch", f.kvV2Patch}, {"KVv2Metadata", f.kvV2Metadata},
		{"Capabilities", f.capabilities}, {"Tokens", f.tokens}, {"TokenRoles", f.tokenRoles}, {"LifetimeWatcher", f.lifetimeWatcher},
		{"Wrapping", f.wrapping}, {"Cubbyhole", f.cubbyhole}, {"Leases", f.leases}, {"RawRequests", f.rawRequests},
		{"Snapshots", f.snapshots}, {"AuditFile", f.auditFile}, {"Seal", f.seal},
	} {
		if !t.Run(step.name, step.run) {
			t.Fatalf("step %s failed: the rest depends on it", step.name)
		}
	}
}

func (f *flow) initialise(t *testing.T) {
	client := newClient(t, "")
	done, err := client.Sys().InitStatus()
	must(t, err)
	equal(t, "initialised", done, false)
	made, err := client.Sys().Init(&vault.InitRequest{SecretShares: 5, SecretThreshold: 3})
	must(t, err)
	equal(t, "shares", []int{len(made.Keys), len(made.KeysB64)}, []int{5, 5})
	f.shares = made.KeysB64
	f.root = newClient(t, made.RootToken)
	_, err = client.Sys().Init(&vault.InitRequest{SecretShares: 1, SecretThreshold: 1})
	refused(t, err, http.StatusBadRequest, "Vault is already initialized")
}

func (f *flow) unseal(t *testing.T) {
	sys := newClient(t, "").Sys()
	status, err := sys.SealStatus()
	must(t, err)
	equal(t, "seal status", []any{status.Sealed, status.T, status.N, status.Progress, status.Type}, []any{true, 3, 5, 0, "shamir"})
	_, err = f.root.Auth().Token().LookupSelf()
	refused(t, err, http.StatusServiceUnavailable, "Vault is sealed")
	for given, share := range f.shares[1:4] {
		status, err = sys.Unseal(share)
		must(t, err)
		equal(t, "sealed", status.Sealed, given < 2)
		if given < 2 {
			equal(t, "progress", status.Progress, given+1)
		}
	}
	waitActive(t)
}

func waitActive(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		health, err := newClient(t, "").Sys().Health()
		if err == nil && !health.Sealed && !health.Standby {
			return
		}
	}
	t.Fatal("the server did not become active")
}

func (f *flow) health(t *testing.T) {
	health, err := f.root.Sys().Health()
	must(t, err)
	if !health.Initialized || health.Sealed || health.Standby || health.Version == "" || health.ClusterID == "" {
		t.Fatalf("health: %+v", health)
	}
	leader, err := f.root.Sys().Leader()
	must(t, err)
	equal(t, "is self", leader.IsSelf, true)
	equal(t, "leader", leader.LeaderAddress, os.Getenv("VAULT_ADDR"))
}

func (f *flow) enableAudit(t *testing.T) {
	path := os.Getenv("STRONGROOM_AUDIT_FILE")
	must(t, f.root.Sys().EnableAuditWithOptions("file", &vault.EnableAuditOptions{
		Type: "file", Description: "all of it", Options: map[string]string{"file_path": path}}))
	devices, err := f.root.Sys().ListAudit()
	must(t, err)
	equal(t, "file_path", devices["file/"].Options["file_path"], path)
}

func (f *flow) policies(t *testing.T) {
	sys := f.root.Sys()
	rules := `path "secret/data/app/*" { capabilities = ["create", "read", "update", "patch"] }
path "secret/metadata/app/*" { capabilities = ["read", "list"] }
path "auth/token/create" { capabilities = ["update"] }`
	must(t, sys.PutPolicy("app", rules))
	read, err := sys.GetPolicy("app")
	must(t, err)
	equal(t, "rules", read, rules)
	names, err := sys.ListPolicies()
	must(t, err)
	equal(t, "policies", names, []string{"app", "default", "root"})
	must(t, sys.PutPolicy("gone", rules))
	must(t, sys.DeletePolicy("gone"))
	read, err = sys.GetPolicy("gone")
	must(t, err)
	equal(t, "deleted policy", read, "")
	refused(t, sys.PutPolicy("bad", `path "x" {`), http.StatusBadRequest, "failed to parse policy")
}

func (f *flow) mounts(t *testing.T) {
	sys := f.root.Sys()
	must(t, sys.Mount("secret", &vault.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	must(t, sys.Mount("kv1", &vault.MountInput{Type: "kv", Description: "first", Options: map[string]string{"version": "1"},
		Config: vault.MountConfigInput{DefaultLeaseTTL: "10m", MaxLeaseTTL: "1h"}}))
	mounts, err := sys.ListMounts()
	must(t, err)
	equal(t, "version", mounts["secret/"].Options["version"], "2")
	equal(t, "ttl", []int{mounts["kv1/"].Config.DefaultLeaseTTL, mounts["kv1/"].Config.MaxLeaseTTL}, []int{600, 3600})
	description := "second"
	must(t, sys.TuneMount("kv1", vault.MountConfigInput{DefaultLeaseTTL: "20m", Description: &description}))
	config, err := sys.MountConfig("kv1")
	must(t, err)
	equal(t, "tuned ttl", config.DefaultLeaseTTL, 1200)
	must(t, sys.Mount("short", &vault.MountInput{Type: "kv"}))
	must(t, sys.Unmount("short"))
	refused(t, sys.Mount("kv1", &vault.MountInput{Type: "kv"}), http.StatusBadRequest, "path is already in use at kv1/")
	must(t, sys.EnableAuthWithOptions("approle", &vault.EnableAuthOptions{Type: "approle"}))
	must(t, sys.EnableAuthWithOptions("people", &vault.EnableAuthOptions{Type: "userpass"}))
	methods, err := sys.ListAuth()
	must(t, err)
	equal(t, "auth types", []string{methods["approle/"].Type, methods["people/"].Type, methods["token/"].Type},
		[]string{"approle", "userpass", "token"})
}

func (f *flow) appRoleLogin(t *testing.T) {
	_, err := f.root.Logical().Write("auth/approle/role/app", map[string]any{
		"token_policies": []string{"app"}, "token_ttl": "20m", "token_max_ttl": "1h", "secret_id_num_uses": 10})
	must(t, err)
	role, err := f.root.Logical().Read("auth/approle/role/app/role-id")
	must(t, err)
	f.roleID = role.Data["role_id"].(string)
	made, err := f.root.Logical().Write("auth/approle/role/app/secret-id", map[string]any{"metadata": `{"host":"h1"}`})
	must(t, err)
	method, err := approle.NewAppRoleAuth(f.roleID, &approle.SecretID{FromString: made.Data["secret_id"].(string)})
	must(t, err)
	f.app = newClient(t, "")
	login, err := f.app.Auth().Login(ctx, method)
	must(t, err)
	equal(t, "policies", login.Auth.TokenPolicies, []string{"app", "default"})
	equal(t, "lease", login.Auth.LeaseDuration, 1200)
	equal(t, "metadata", login.Auth.Metadata, map[string]string{"role_name": "app", "host": "h1"})
	wrong, err := approle.NewAppRoleAuth(f.roleID, &approle.SecretID{FromString: "wrong"})
	must(t, err)
	_, err = newClient(t, "").Auth().Login(ctx, wrong)
	refused(t, err, http.StatusBadRequest, "invalid")
}

// A secret id handed over wrapped, as HashiCorp recommends: the client's helper unwraps it.
func (f *flow) appRoleWrapped(t *testing.T) {
	wrapper, err := f.root.Clone()
	must(t, err)
	wrapper.SetToken(f.root.Token())
	wrapper.SetWrappingLookupFunc(func(_, _ string) string { return "5m" })
	wrapped, err := wrapper.Logical().Write("auth/approle/role/app/secret-id", nil)
	must(t, err)
	equal(t, "wrap ttl", wrapped.WrapInfo.TTL, 300)
	method, err := approle.NewAppRoleAuth(f.roleID, &approle.SecretID{FromString: wrapped.WrapInfo.Token}, approle.WithWrappingToken())
	must(t, err)
	client := newClient(t, "")
	_, err = client.Auth().Login(ctx, method)
	must(t, err)
	_, err = client.Auth().Login(ctx, method)
	if err == nil || !strings.Contains(err.Error(), "wrapping token is not valid or does not exist") {
		t.Fatalf("a wrapping token worked twice: %v", err)
	}
}

func (f *flow) userpass(t *testing.T) {
	_, err := f.root.Logical().Write("auth/people/users/ann", map[string]any{"password": "correct horse", "token_policies": "app"})
	must(t, err)
	method, err := userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "correct horse"}, userpass.WithMountPath("people"))
	must(t, err)
	login, err := newClient(t, "").Auth().Login(ctx, method)
	must(t, err)
	equal(t, "policies", login.Auth.Policies, []string{"app", "default"})
	wrong, err := userpass.NewUserpassAuth("ann", &userpass.Password{FromString: "x"}, userpass.WithMountPath("people"))
	must(t, err)
	_, err = newClient(t, "").Auth().Login(ctx, wrong)
	refused(t, err, http.StatusBadRequest, "invalid username or password")
}

func (f *flow) kvV1(t *testing.T) {
	kv := f.root.KVv1("kv1")
	must(t, kv.Put(ctx, "a/b", map[string]any{"x": "1", "n": 7}))
	secret, err := kv.Get(ctx, "a/b")
	must(t, err)
	equal(t, "data", secret.Data, map[string]any{"x": "1", "n": json.Number("7")})
	list, err := f.root.Logical().List("kv1/")
	must(t, err)
	equal(t, "keys", list.Data["keys"], []any{"a/"})
	must(t, kv.Delete(ctx, "a/b"))
	_, err = kv.Get(ctx, "a/b")
	if !errors.Is(err, vault.ErrSecretNotFound) {
		t.Fatalf("deleted secret: %v", err)
	}
}

func (f *flow) kvV2(t *testing.T) {
	kv := f.app.KVv2("secret")
	written, err := kv.Put(ctx, "app/a", map[string]any{"x": "1"}, vault.WithCheckAndSet(0))
	must(t, err)
	equal(t, "version", written.VersionMetadata.Version, 1)
	_, err = kv.Put(ctx, "app/a", map[string]any{"x": "2"}, vault.WithCheckAndSet(0))
	refused(t, err, http.StatusBadRequest, "check-and-set parameter did not match the current version")
	_, err = kv.Put(ctx, "app/a", map[string]any{"x": "2"}, vault.WithCheckAndSet(1))
	must(t, err)
	secret, err := kv.Get(ctx, "app/a")
	must(t, err)
	equal(t, "data", secret.Data, map[string]any{"x": "2"})
	first, err := kv.GetVersion(ctx, "app/a", 1)
	must(t, err)
	equal(t, "first", first.Data, map[string]any{"x": "1"})
	versions, err := kv.GetVersionsAsList(ctx, "app/a")
	must(t, err)
	equal(t, "versions", len(versions), 2)
	_, err = kv.Get(ctx, "other/a")
	refused(t, err, http.StatusForbidden, "permission denied")

	root := f.root.KVv2("secret")
	must(t, root.Delete(ctx, "app/a"))
	deleted, err := root.Get(ctx, "app/a")
	must(t, err)
	if deleted.Data != nil || deleted.VersionMetadata.DeletionTime.IsZero() {
		t.Fatalf("deleted secret: %+v", deleted)
	}
	must(t, root.Undelete(ctx, "app/a", []int{2}))
	rolled, err := root.Rollback(ctx, "app/a", 1)
	must(t, err)
	equal(t, "rolled back to", rolled.VersionMetadata.Version, 3)
	must(t, root.Destroy(ctx, "app/a", []int{1}))
	gone, err := root.GetVersion(ctx, "app/a", 1)
	must(t, err)
	equal(t, "destroyed", gone.VersionMetadata.Destroyed, true)
}

func (f *flow) kvV2Patch(t *testing.T) {
	kv := f.app.KVv2("secret")
	_, err := kv.Put(ctx, "app/p", map[string]any{"keep": "k", "drop": "d"})
	must(t, err)
	for _, method := range []string{vault.KVMergeMethodPatch, vault.KVMergeMethodReadWrite} {
		_, err = kv.Patch(ctx, "app/p", map[string]any{"by": method}, vault.WithMergeMethod(method))
		must(t, err)
	}
	_, err = kv.Patch(ctx, "app/p", map[string]any{"drop": nil}, vault.WithMergeMethod(vault.KVMergeMethodPatch))
	must(t, err)
	secret, err := kv.Get(ctx, "app/p")
	must(t, err)
	equal(t, "patched", secret.Data, map[string]any{"keep": "k", "by": vault.KVMergeMethodReadWrite})
	equal(t, "version", secret.VersionMetadata.Version, 4)
}

func (f *flow) kvV2Metadata(t *testing.T) {
	kv := f.root.KVv2("secret")
	must(t, kv.PutMetadata(ctx, "app/m", vault.KVMetadataPutInput{MaxVersions: 3, CASRequired: true, CustomMetadata: map[string]any{"owner": "ops"}}))
	_, err := kv.Put(ctx, "app/m", map[string]any{"x": "1"})
	refused(t, err, http.StatusBadRequest, "check-and-set parameter required for this call")
	cas := false
	must(t, kv.PatchMetadata(ctx, "app/m", vault.KVMetadataPatchInput{CASRequired: &cas, CustomMetadata: map[string]any{"team": "b"}}))
	metadata, err := kv.GetMetadata(ctx, "app/m")
	must(t, err)
	equal(t, "custom metadata", metadata.CustomMetadata, map[string]any{"owner": "ops", "team": "b"})
	equal(t, "settings", []any{metadata.MaxVersions, metadata.CASRequired}, []any{3, false})
	must(t, kv.DeleteMetadata(ctx, "app/m"))
	_, err = kv.GetMetadata(ctx, "app/m")
	if !errors.Is(err, vault.ErrSecretNotFound) {
		t.Fatalf("deleted metadata: %v", err)
	}
}

func (f *flow) capabilities(t *testing.T) {
	mine, err := f.app.Sys().CapabilitiesSelf("secret/data/app/x")
	must(t, err)
	slices.Sort(mine)
	equal(t, "capabilities", mine, []string{"create", "patch", "read", "update"})
	none, err := f.root.Sys().Capabilities(f.app.Token(), "sys/mounts")
	must(t, err)
	equal(t, "capabilities", none, []string{"deny"})
}

func (f *flow) tokens(t *testing.T) {
	tokens := f.root.Auth().Token()
	made, err := tokens.Create(&vault.TokenCreateRequest{Policies: []string{"app"}, TTL: "1h", Metadata: map[string]string{"a": "b"}, DisplayName: "go"})
	must(t, err)
	looked, err := tokens.Lookup(made.Auth.ClientToken)
	must(t, err)
	equal(t, "display name", looked.Data["display_name"], "token-go")
	ttl, err := looked.TokenTTL()
	must(t, err)
	if ttl < 59*time.Minute || ttl > time.Hour {
		t.Fatalf("ttl %v", ttl)
	}
	renewed, err := tokens.Renew(made.Auth.ClientToken, 1800)
	must(t, err)
	equal(t, "renewed", renewed.Auth.LeaseDuration, 1800)
	must(t, tokens.RevokeAccessor(made.Auth.Accessor))
	_, err = tokens.Lookup(made.Auth.ClientToken)
	refused(t, err, http.StatusForbidden, "bad token")

	batch, err := tokens.Create(&vault.TokenCreateRequest{Policies: []string{"app"}, Type: "batch", TTL: "10m"})
	must(t, err)
	equal(t, "batch", []any{batch.Auth.Renewable, batch.Auth.Accessor}, []any{false, ""})
	_, err = newClient(t, batch.Auth.ClientToken).Auth().Token().LookupSelf()
	must(t, err)
	orphan, err := tokens.CreateOrphan(&vault.TokenCreateRequest{Policies: []string{"default"}})
	must(t, err)
	equal(t, "orphan", orphan.Auth.Orphan, true)
	must(t, tokens.RevokeTree(orphan.Auth.ClientToken))
	_, err = f.app.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"root"}})
	refused(t, err, http.StatusBadRequest, "child policies must be subset of parent")
}

func (f *flow) tokenRoles(t *testing.T) {
	_, err := f.root.Logical().Write("auth/token/roles/ops", map[string]any{"allowed_policies": "app", "orphan": true, "token_period": "1h"})
	must(t, err)
	made, err := f.root.Auth().Token().CreateWithRole(&vault.TokenCreateRequest{}, "ops")
	must(t, err)
	equal(t, "role token", []any{made.Auth.Orphan, made.Auth.LeaseDuration}, []any{true, 3600})
}

// The client's own background renewal keeps a short token alive past its first lifetime.
func (f *flow) lifetimeWatcher(t *testing.T) {
	made, err := f.root.Auth().Token().Create(&vault.TokenCreateRequest{Policies: []string{"default"}, TTL: "3s"})
	must(t, err)
	client := newClient(t, made.Auth.ClientToken)
	watcher, err := client.NewLifetimeWatcher(&vault.LifetimeWatcherInput{Secret: made, Increment: 3})
	must(t, err)
	go watcher.Start()
	defer watcher.Stop()
	deadline := time.After(20 * time.Second)
	for renewals := 0; renewals < 3; {
		select {
		case renewal := <-watcher.RenewCh():
			renewals++
			equal(t, "renewed for", renewal.Secret.Auth.LeaseDuration, 3)
		case err := <-watcher.DoneCh():
			t.Fatalf("the watcher gave up: %v", err)
		case <-deadline:
			t.Fatal("no renewal")
		}
	}
	_, err = client.Auth().Token().LookupSelf()
	must(t, err)
}

func (f *flow) wrapping(t *testing.T) {
	client := newClient(t, f.root.Token())
	client.SetWrappingLookupFunc(func(operation, path string) string {
		if path == "kv1/w" && operation == http.MethodGet {
			return "60s"
		}
		return ""
	})
	_, err := client.Logical().Write("kv1/w", map[string]any{"x": "1"})
	must(t, err)
	wrapped, err := client.Logical().Read("kv1/w")
	must(t, err)
	equal(t, "creation path", wrapped.WrapInfo.CreationPath, "kv1/w")
	looked, err := f.root.Logical().Write("sys/wrapping/lookup", map[string]any{"token": wrapped.WrapInfo.Token})
	must(t, err)
	equal(t, "looked up", looked.Data["creation_path"], "kv1/w")
	inner, err := newClient(t, "").Logical().Unwrap(wrapped.WrapInfo.Token)
	must(t, err)
	equal(t, "unwrapped", inner.Data, map[string]any{"x": "1"})
	_, err = f.root.Logical().Unwrap(wrapped.WrapInfo.Token)
	if err == nil || !strings.Contains(err.Error(), "wrapping token is not valid or does not exist") {
		t.Fatalf("second unwrap: %v", err)
	}
}

func (f *flow) cubbyhole(t *testing.T) {
	_, err := f.app.Logical().Write("cubbyhole/mine", map[string]any{"x": "1"})
	must(t, err)
	mine, err := f.app.Logical().Read("cubbyhole/mine")
	must(t, err)
	equal(t, "mine", mine.Data, map[string]any{"x": "1"})
	others, err := f.root.Logical().Read("cubbyhole/mine")
	must(t, err)
	if others != nil {
		t.Fatalf("root reads another token's cubbyhole: %v", others.Data)
	}
}

func (f *flow) leases(t *testing.T) {
	list, err := f.root.Logical().List("sys/leases/lookup/auth/approle/login")
	must(t, err)
	keys := list.Data["keys"].([]any)
	equal(t, "leases", len(keys), 2)
	lease, err := f.root.Sys().Lookup("auth/approle/login/" + keys[0].(string))
	must(t, err)
	equal(t, "renewable", lease.Data["renewable"], true)
	_, err = f.root.Sys().Lookup("auth/approle/login/nope")
	refused(t, err, http.StatusBadRequest, "invalid lease")
	must(t, f.root.Sys().RevokePrefix("auth/people/login"))
}

func (f *flow) rawRequests(t *testing.T) {
	missing, err := f.root.Logical().Read("kv1/none")
	must(t, err)
	if missing != nil {
		t.Fatalf("an absent secret: %+v", missing)
	}
	_, err = f.root.Logical().Read("nowhere/x")
	if err != nil {
		refused(t, err, http.StatusNotFound, "no handler for route")
	}
	answer, err := f.root.Logical().ReadRawWithContext(ctx, "kv1/none")
	if answer == nil || answer.StatusCode != http.StatusNotFound {
		t.Fatalf("raw read: %v %v", answer, err)
	}
	_, err = newClient(t, "").Logical().Read("kv1/none")
	refused(t, err, http.StatusForbidden, "permission denied")
	_, err = newClient(t, "hvs.unknown").Auth().Token().LookupSelf()
	refused(t, err, http.StatusForbidden, "permission denied")
}

// The client reads the archive while it comes and looks for its last member.
func (f *flow) snapshots(t *testing.T) {
	write := func(value string) {
		_, err := f.root.Logical().Write("kv1/saved", map[string]any{"value": value})
		must(t, err)
	}
	read := func() any {
		secret, err := f.root.Logical().Read("kv1/saved")
		must(t, err)
		return secret.Data["value"]
	}
	write("before")
	var archive bytes.Buffer
	must(t, f.root.Sys().RaftSnapshot(&archive))
	write("after")
	must(t, f.root.Sys().RaftSnapshotRestore(bytes.NewReader(archive.Bytes()), false))
	equal(t, "restored", read(), "before")
	write("after")
	must(t, f.root.Sys().RaftSnapshotRestore(bytes.NewReader(archive.Bytes()), true))
	equal(t, "restored by force", read(), "before")
	err := f.root.Sys().RaftSnapshotRestore(bytes.NewReader(archive.Bytes()[:archive.Len()/2]), false)
	refused(t, err, http.StatusBadRequest, "failed to read snapshot")
	equal(t, "after a refusal", read(), "before")
}

func (f *flow) auditFile(t *testing.T) {
	const secret = "find this in the audit file"
	_, err := f.root.Logical().Write("kv1/audited", map[string]any{"password": secret})
	must(t, err)
	hash, err := f.root.Sys().AuditHash("file", secret)
	must(t, err)
	tokenHash, err := f.root.Sys().AuditHash("file", f.root.Token())
	must(t, err)
	file, err := os.Open(os.Getenv("STRONGROOM_AUDIT_FILE"))
	must(t, err)
	defer file.Close()
	type record struct {
		Type string
		Auth struct {
			ClientToken string `json:"client_token"`
		}
		Request struct {
			Path, Operation string
			Data            map[string]any
		}
	}
	var seen []string
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), secret) || strings.Contains(lines.Text(), f.root.Token()) {
			t.Fatal("a secret stands in the audit file in clear")
		}
		var one record
		must(t, json.Unmarshal(lines.Bytes(), &one))
		if one.Request.Path == "kv1/audited" {
			seen = append(seen, one.Type)
			equal(t, "hashed secret", one.Request.Data["password"], any(hash))
			equal(t, "hashed token", one.Auth.ClientToken, tokenHash)
		}
	}
	must(t, lines.Err())
	equal(t, "records", seen, []string{"request", "response"})
}

func (f *flow) seal(t *testing.T) {
	refused(t, f.app.Sys().Seal(), http.StatusForbidden, "permission denied")
	must(t, f.root.Sys().Seal())
	status, err := f.root.Sys().SealStatus()
	must(t, err)
	equal(t, "sealed", status.Sealed, true)
	for _, share := range f.shares[:3] {
		_, err = f.root.Sys().Unseal(share)
		must(t, err)
	}
	waitActive(t)
	secret, err := f.app.KVv2("secret").Get(ctx, "app/p")
	must(t, err)
	equal(t, "after unsealing", secret.Data["keep"], any("k"))
	must(t, f.root.Auth().Token().RevokeSelf(""))
	_, err = f.root.Auth().Token().LookupSelf()
	refused(t, err, http.StatusForbidden, "permission denied")
}
