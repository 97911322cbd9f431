// Drives a running, not yet initialised server with the unmodified node-vault client.
// The steps depend on each other and run in order.
//
// VAULT_ADDR says where the server is (NODE_EXTRA_CA_CERTS whom to trust), STRONGROOM_AUDIT_FILE where it may
// write its audit log.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import nodeVault from 'node-vault';

const endpoint = process.env.VAULT_ADDR;
const auditFile = process.env.STRONGROOM_AUDIT_FILE;
// node-vault takes VAULT_TOKEN where no token is given: an empty one is a client without.
const client = (token = '') => nodeVault({ apiVersion: 'v1', endpoint, token });

const left = {};

// What node-vault throws for an answer that is no success: the status and the first text of "errors".
async function refused(call, status, text) {
  await assert.rejects(call, (error) => {
    assert.equal(error.response?.statusCode, status, error.message);
    const [first] = error.response.body.errors;
    if (text instanceof RegExp) assert.match(first ?? '', text);
    else assert.equal(first, text);
    return true;
  });
}

async function active() {
  for (let tries = 0; tries < 400; tries += 1) {
    const health = await client().health().catch(() => null);
    if (health && !health.sealed && !health.standby) return;
    await sleep(50);
  }
  assert.fail('the server did not become active');
}

test('the whole flow', { skip: !endpoint && 'VAULT_ADDR is not set: run tests/compat/run' }, async (flow) => {
  const steps = {
    async initialise() {
      assert.deepEqual(await client().initialized(), { initialized: false });
      const made = await client().init({ secret_shares: 5, secret_threshold: 3 });
      assert.equal(made.keys.length, 5);
      assert.equal(made.keys_base64.length, 5);
      left.shares = made.keys;
      left.rootToken = made.root_token;
      await refused(client().init({ secret_shares: 1, secret_threshold: 1 }), 400, 'Vault is already initialized');
    },

    async unseal() {
      const anyone = client();
      let status = await anyone.status();
      assert.deepEqual([status.sealed, status.t, status.n, status.progress], [true, 3, 5, 0]);
      status = await anyone.unseal({ key: left.shares[0] });
      assert.equal(status.progress, 1);
      status = await anyone.unseal({ reset: true });
      assert.equal(status.progress, 0);
      for (const key of left.shares.slice(2)) status = await anyone.unseal({ key });
      assert.equal(status.sealed, false);
      await active();
      left.root = client(left.rootToken);
    },

    async audit() {
      await left.root.enableAudit({ name: 'file', type: 'file', options: { file_path: auditFile } });
      assert.equal((await left.root.audits()).data['file/'].options.file_path, auditFile);
    },

    async policies() {
      const rules = 'path "secret/data/app/*" { capabilities = ["create", "read", "update"] }\n'
        + 'path "kv1/app/*" { capabilities = ["create", "read", "update", "delete", "list"] }';
      await left.root.addPolicy({ name: 'app', policy: rules });
      assert.equal((await left.root.getPolicy({ name: 'app' })).data.rules, rules);
      assert.deepEqual((await left.root.policies()).data.policies, ['app', 'default', 'root']);
      await left.root.addPolicy({ name: 'gone', policy: rules });
      await left.root.removePolicy({ name: 'gone' });
      await refused(left.root.getPolicy({ name: 'gone' }), 404, undefined);
      await refused(left.root.addPolicy({ name: 'bad', policy: 'path "x" {' }), 400, /^failed to parse policy/);
    },

    async mounts() {
      await left.root.mount({ mount_point: 'secret', type: 'kv', options: { version: '2' } });
      await left.root.mount({ mount_point: 'kv1', type: 'kv', options: { version: '1' }, description: 'first' });
      const mounts = (await left.root.mounts()).data;
      assert.equal(mounts['secret/'].options.version, '2');
      assert.equal(mounts['kv1/'].description, 'first');
      await left.root.mount({ mount_point: 'short', type: 'kv' });
      await left.root.remount({ from: 'short', to: 'shorter' });
      await left.root.unmount({ mount_point: 'shorter' });
      await refused(left.root.mount({ mount_point: 'kv1', type: 'kv' }), 400, 'path is already in use at kv1/');
      await left.root.enableAuth({ mount_point: 'approle', type: 'approle' });
      await left.root.enableAuth({ mount_point: 'userpass', type: 'userpass' });
      assert.equal((await left.root.auths()).data['approle/'].type, 'approle');
    },

    async 'AppRole login'() {
      await left.root.addApproleRole({ role_name: 'app', policies: 'app', token_ttl: 1200, secret_id_num_uses: 2 });
      assert.deepEqual((await left.root.approleRoles()).data.keys, ['app']);
      const { role_id: roleId } = (await left.root.getApproleRoleId({ role_name: 'app' })).data;
      const { secret_id: secretId } = (await left.root.getApproleRoleSecret({ role_name: 'app' })).data;
      const login = { role_id: roleId, secret_id: secretId };
      const { auth } = await client().approleLogin(login);
      assert.deepEqual(auth.policies, ['app', 'default']);
      assert.equal(auth.lease_duration, 1200);
      left.app = client(auth.client_token);
      await client().approleLogin(login);
      await refused(client().approleLogin(login), 400, /^invalid (role or )?secret id|^invalid role or secret ID$/i);
      await refused(client().approleLogin({ ...login, secret_id: 'wrong' }), 400, /^invalid (role or )?secret id/i);
    },

    async 'userpass login'() {
      await left.root.write('auth/userpass/users/ann', { password: 'correct horse', token_policies: 'app' });
      const { auth } = await client().userpassLogin({ username: 'ann', password: 'correct horse' });
      assert.deepEqual(auth.policies, ['app', 'default']);
      await refused(client().userpassLogin({ username: 'ann', password: 'x' }), 400, 'invalid username or password');
    },

    async 'KV version 1'() {
      await left.app.write('kv1/app/a', { x: '1', n: 7 });
      assert.deepEqual((await left.app.read('kv1/app/a')).data, { x: '1', n: 7 });
      assert.deepEqual((await left.app.list('kv1/app')).data.keys, ['a']);
      await left.app.delete('kv1/app/a');
      await refused(left.app.read('kv1/app/a'), 404, undefined);
      await refused(left.app.read('kv1/other'), 403, /permission denied/);
    },

    async 'KV version 2'() {
      const first = await left.app.write('secret/data/app/a', { data: { x: '1' }, options: { cas: 0 } });
      assert.equal(first.data.version, 1);
      await refused(left.app.write('secret/data/app/a', { data: { x: '2' }, options: { cas: 0 } }), 400,
        'check-and-set parameter did not match the current version');
      assert.equal((await left.app.write('secret/data/app/a', { data: { x: '2' } })).data.version, 2);
      assert.deepEqual((await left.app.read('secret/data/app/a')).data.data, { x: '2' });
      assert.deepEqual((await left.app.read('secret/data/app/a?version=1')).data.data, { x: '1' });
      await left.root.update('secret/data/app/a', { data: { y: '3' } });
      assert.deepEqual((await left.app.read('secret/data/app/a')).data.data, { x: '2', y: '3' });
      await left.root.write('secret/delete/app/a', { versions: [3] });
      // A deleted version answers 404 with its metadata instead of a list of errors.
      await assert.rejects(left.app.read('secret/data/app/a'), ({ response }) => {
        assert.deepEqual([response.statusCode, response.body.data.data], [404, null]);
        return response.body.data.metadata.deletion_time !== '';
      });
      await left.root.write('secret/undelete/app/a', { versions: [3] });
      await left.root.write('secret/destroy/app/a', { versions: [1] });
      const { data } = await left.root.read('secret/metadata/app/a');
      assert.equal(data.versions['1'].destroyed, true);
      assert.deepEqual([data.current_version, data.oldest_version], [3, 0]);
      assert.deepEqual((await left.root.list('secret/metadata/app')).data.keys, ['a']);
      await left.root.delete('secret/metadata/app/a');
      await refused(left.root.read('secret/metadata/app/a'), 404, undefined);
    },

    async tokens() {
      // node-vault goes on under every token that it creates or renews: each call gets a client of its own.
      const root = () => client(left.rootToken);
      const { auth } = await root().tokenCreate({ policies: ['app'], ttl: '1h', meta: { a: 'b' } });
      const looked = (await root().tokenLookup({ token: auth.client_token })).data;
      assert.deepEqual([looked.accessor, looked.meta, looked.creation_ttl], [auth.accessor, { a: 'b' }, 3600]);
      assert.equal((await root().tokenLookupAccessor({ accessor: auth.accessor })).data.id, '');
      assert.equal((await root().tokenRenew({ token: auth.client_token, increment: '30m' })).auth.lease_duration, 1800);
      assert.equal((await client(auth.client_token).tokenRenewSelf({ increment: 600 })).auth.lease_duration, 600);
      await root().tokenRevoke({ token: auth.client_token });
      await refused(client(auth.client_token).tokenLookupSelf(), 403, /permission denied/);
      assert.equal((await root().tokenCreateOrphan({ policies: ['default'] })).auth.orphan, true);
      await root().write('auth/token/roles/ops', { allowed_policies: ['app'], orphan: true });
      assert.equal((await root().tokenCreateRole({ role_name: 'ops' })).auth.orphan, true);
    },

    async wrapping() {
      const { wrap_info: info } = await left.root.write('sys/wrapping/wrap', { a: 'b' }, { headers: { 'X-Vault-Wrap-TTL': '60s' } });
      assert.equal(info.ttl, 60);
      assert.equal((await left.root.write('sys/wrapping/lookup', { token: info.token })).data.creation_ttl, 60);
      assert.deepEqual((await left.root.unwrap({ token: info.token })).data, { a: 'b' });
      await refused(left.root.unwrap({ token: info.token }), 400, 'wrapping token is not valid or does not exist');
    },

    async 'audit file'() {
      const secret = 'find this in the audit file';
      await left.root.write('kv1/audited', { password: secret });
      const { hash } = (await left.root.write('sys/audit-hash/file', { input: secret })).data;
      const text = readFileSync(auditFile, 'utf8');
      assert.ok(!text.includes(secret) && !text.includes(left.rootToken));
      const records = text.trimEnd().split('\n').map((line) => JSON.parse(line)).filter((r) => r.request.path === 'kv1/audited');
      assert.deepEqual(records.map((r) => r.type), ['request', 'response']);
      for (const record of records) assert.equal(record.request.data.password, hash);
    },

    async seal() {
      await refused(left.app.seal(), 403, /permission denied/);
      await left.root.seal();
      assert.equal((await client().status()).sealed, true);
      await refused(left.root.tokenLookupSelf(), 503, 'Vault is sealed');
    },
  };
  for (const [name, step] of Object.entries(steps)) {
    let failed = false;
    await flow.test(name, async () => {
      try {
        await step();
      } catch (error) {
        failed = true;
        throw error;
      }
    });
    if (failed) throw new Error(`step "${name}" failed: the rest depends on it`);
  }
});
