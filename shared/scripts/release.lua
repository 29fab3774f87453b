-- Give a started job back to the front of the queue, if this execution still holds it.
-- a: id, execution, worker, spend (true: this was a failed try and costs one of RQ's retries).
-- Returns 'released', 'superseded' or 'exhausted' (no retry is left; nothing was written, the caller fails it).
if not is_current(a.id, a.execution) then return superseded(a.id, a.execution) end
if a.spend then
  local left = tonumber(redis.call('HGET', job_key(a.id), 'retries_left') or 0)
  if left < 1 then return 'exhausted' end
  redis.call('HSET', job_key(a.id), 'retries_left', left - 1)
  count('retried')
else
  count('returned')
end
close_execution(a.id, a.execution, a.worker)
if redis.call('HGET', incident_key(a.id), 'state') == 'in_flight' then move(a.id, 'queued') end
back_to_queue(a.id)
return 'released'
