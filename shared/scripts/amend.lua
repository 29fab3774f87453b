-- A later decision on a decided incident, by a person or by the desk's clock: its record and its dispatches in
-- one step, if nobody amended it in between.
-- a: id, revision (the one it was made on), decision (its own id), incident {field: value},
--    entries [[department, event]].
-- Returns [outcome, keys of streams that could not be written ...]; the outcome is 'amended', 'already' (this very
-- decision was made, whatever followed it), 'stale' (another came first), 'undecided' (no verdict yet) or 'gone'
-- (no such incident).
local key = incident_key(a.id)
if redis.call('TYPE', key).ok ~= 'hash' then return { 'gone' } end
local state, verdict, decision, revision = unpack(redis.call('HMGET', key, 'state', 'verdict', 'decision', 'revision'))
if not state then return { 'gone' } end
local decisions = 'almenara:decisions:' .. a.id
clear_for(decisions, 'set')
if decision == a.decision or redis.call('SISMEMBER', decisions, a.decision) == 1 then return { 'already' } end
if state ~= 'decided' then return { 'undecided' } end
if (tonumber(revision) or 1) ~= a.revision then return { 'stale' } end

-- One department's key of another kind must not keep the decision from the others.
local outcome, written = { 'amended' }, 0
for _, entry in ipairs(a.entries) do
  local stream = 'dispatch:' .. entry[1]
  local kind = redis.call('TYPE', stream).ok
  if kind == 'none' or kind == 'stream' then
    redis.call('XADD', stream, '*', 'event', entry[2])
    written = written + 1
  else
    outcome[#outcome + 1] = stream
  end
end
set_fields(key, a.incident)
redis.call('HSET', key, 'decision', a.decision, 'revision', a.revision + 1)
-- All of them, for a desk that could not commit several of one incident repeats them all.
redis.call('SADD', decisions, a.decision)
if decision then redis.call('SADD', decisions, decision) end
local left_ms = redis.call('PTTL', key)
if left_ms > 0 then redis.call('PEXPIRE', decisions, left_ms) end
if verdict and verdict ~= a.incident.verdict then
  count(verdict, -1)
  count(a.incident.verdict)
end
count('amended')
count('entries', written)
changed(a.id)
return outcome
