-- The job can't succeed: it fails in RQ, and the incident goes to review, in one step, if this execution still
-- holds it. A job that is no incident of ours only fails.
-- a: as finish.lua, and exc_info (text). Returns as finish.lua.
local known = redis.call('EXISTS', incident_key(a.id)) == 1
local settled = false
if known then
  if not is_current(a.id, a.execution) then return superseded(a.id, a.execution) end
  -- Decided, or damaged: then it has no verdict, and `almenara audit` shows it.
  settled = moves[redis.call('HGET', incident_key(a.id), 'state')] == nil
  if not settled then decide(a.id) end
elseif redis.call('ZSCORE', 'almenara:lease', member(a.id, a.execution)) == false then
  return superseded(a.id, a.execution)
end
close_execution(a.id, a.execution, a.worker)
a.counter = 'failed_job_count'
end_job(a.id, 'failed', 'failed', a.keep_s, { 'exc_info', a.exc_info })
count('failed')
if known and not settled then return 'published' end
return 'settled'
