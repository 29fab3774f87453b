-- A stored photograph becomes one incident, one RQ job and one place in the queue, or nothing does.
-- a: id, claim, received_s, seen_at, incident {field: value}. ARGV[2..]: fields of the RQ job, in pairs.
-- Returns 'admitted', 'seen' (a resend) or 'already' (this very file was admitted before, and the ingester
-- died before it could say so).
local key = incident_key(a.id)
if redis.call('EXISTS', key) == 1 then
  -- The latest claims, as many as an ingester takes at once: a batch that is repeated may hold several copies.
  local claims = redis.call('HGET', key, 'claim') or ''
  if string.find(claims, a.claim, 1, true) then return 'already' end
  redis.call('HINCRBY', key, 'seen_count', 1)
  redis.call('HSET', key, 'last_seen_at', a.seen_at, 'claim', string.sub(a.claim .. ' ' .. claims, 1, 256 * 33))
  count('seen')
  changed(a.id)
  return 'seen'
end
local number = redis.call('INCR', 'almenara:number')
set_fields(key, a.incident)
redis.call('HSET', key, 'id', a.id, 'claim', a.claim, 'number', string.format('%04d', number), 'state', 'queued',
  'seen_count', 1, 'last_seen_at', a.seen_at)
redis.call('ZADD', 'almenara:incidents', a.received_s, a.id)
redis.call('HSET', job_key(a.id), unpack(ARGV, 2))
redis.call('SADD', rq .. ':queues', queue)
redis.call('RPUSH', queue, a.id)
count('admitted')
return 'admitted'
