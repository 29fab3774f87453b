-- An undecided incident that no worker, queue or lease knows of gets a new job.
-- a: id, repair (false: only look). ARGV[2..]: fields of the RQ job, in pairs.
-- Returns 'fine' or 'stranded'; with repair, the latter is put right.
local key = incident_key(a.id)
local state = redis.call('HGET', key, 'state')
if state ~= 'queued' and state ~= 'in_flight' then return 'fine' end
local status = redis.call('HGET', job_key(a.id), 'status')
local execution = redis.call('HGET', key, 'execution')
if execution and redis.call('ZSCORE', 'almenara:lease', member(a.id, execution)) then return 'fine' end
if status == 'queued' then
  if redis.call('LPOS', queue, a.id) or redis.call('LPOS', intermediate, a.id) then return 'fine' end
end
if status == 'scheduled' or status == 'deferred' then return 'fine' end
if not a.repair then return 'stranded' end
if state == 'in_flight' then move(a.id, 'queued') end
redis.call('HDEL', key, 'execution')
redis.call('ZREM', rq .. ':failed:' .. a.queue, a.id)
redis.call('DEL', job_key(a.id))
redis.call('HSET', job_key(a.id), unpack(ARGV, 2))
redis.call('SADD', rq .. ':queues', queue)
redis.call('LREM', queue, 0, a.id) -- of a job that was deleted while it waited
redis.call('LPUSH', queue, a.id)
count('requeued')
return 'stranded'
