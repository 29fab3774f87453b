-- A later decision on a decided incident, by a person or by the desk's clock: its record and its dispatches in
-- one step, if nobody amended it in between.
-- a: id, revision (the one it was made on), decision (its own id), incident {field: value},
--    entries [[department, event]].
-- Returns 'amended', 'already' (this very decision stands), 'stale' (another came first), 'undecided' (no verdict
-- yet) or 'gone' (no such incident).
local key = incident_key(a.id)
local state, verdict, decision, revision = unpack(redis.call('HMGET', key, 'state', 'verdict', 'decision', 'revision'))
if not state then return 'gone' end
if decision == a.decision then return 'already' end
if state ~= 'decided' then return 'undecided' end
if (tonumber(revision) or 1) ~= a.revision then return 'stale' end
dispatch()
set_fields(key, a.incident)
redis.call('HSET', key, 'decision', a.decision, 'revision', a.revision + 1)
if verdict and verdict ~= a.incident.verdict then
  count(verdict, -1)
  count(a.incident.verdict)
end
count('amended')
count('entries', #a.entries)
changed(a.id)
return 'amended'
