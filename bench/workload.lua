-- One workload for wrk: sends the given requests in turn and writes what came of it as one line of JSON.
--
--   wrk … -s workload.lua URL -- METHOD PATH COUNT TOKEN BODY
--
-- PATH and BODY may hold "{n}", which becomes 1 … COUNT, one request each; every thread starts at another place.
-- TOKEN and BODY may be empty.

local requests = {}
local at = 0
local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

function init(args)
  local method, path, count, token, body = args[1], args[2], tonumber(args[3]), args[4], args[5]
  local headers = { ["X-Vault-Request"] = "true" }
  if token and token ~= "" then headers["X-Vault-Token"] = token end
  if body and body ~= "" then headers["Content-Type"] = "application/json" else body = nil end
  for n = 1, count do
    local fill = function(text) return text and (text:gsub("{n}", tostring(n))) end
    requests[n] = wrk.format(method, fill(path), headers, fill(body))
  end
  at = (number * 7919) % count
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d,"max_us":%d,"bytes":%d,'
      .. '"status_errors":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
    latency.max, summary.bytes, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
