-- The job succeeded: its verdict, its dispatches and its end, in one step, if this execution still holds it.
-- a: id, execution, worker, incident {field: value}, entries [[department, event]], result {field: value},
--    keep_s, result_keep_s, now, now_s, working_s.
-- Returns 'published', 'superseded' (nothing was written) or 'settled' (the incident was decided before; only
-- the job ended).
if not is_current(a.id, a.execution) then return superseded(a.id, a.execution) end
local settled = redis.call('HGET', incident_key(a.id), 'state') == 'decided'
if not settled then decide(a.id) end
close_execution(a.id, a.execution, a.worker)
a.counter = 'successful_job_count'
end_job(a.id, 'finished', 'finished', a.result_keep_s)
if settled then return 'settled' end
return 'published'
