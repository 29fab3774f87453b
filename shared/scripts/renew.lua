-- A worker says that it lives, and which jobs it holds in memory. Also re-registers it, should the broker have
-- forgotten it.
-- a: worker, members [<id>:<execution>], lease_s, ttl_s, worker_ttl_s, worker_fields {field: value}, now, now_s.
-- Returns the members it no longer holds.
local lost = {}
local deadline = now_ms() + a.lease_s * 1000
for _, key in ipairs(a.members) do
  if redis.call('ZSCORE', 'almenara:lease', key) == false then
    lost[#lost + 1] = key
  else
    redis.call('ZADD', 'almenara:lease', 'XX', deadline, key)
    redis.call('HSET', rq .. ':execution:' .. key, 'last_heartbeat', a.now_s)
    redis.call('EXPIRE', rq .. ':execution:' .. key, a.ttl_s)
    redis.call('ZADD', wip, 'XX', a.now_s + a.ttl_s, key)
    local colon = string.find(key, ':', 1, true)
    local id, execution = string.sub(key, 1, colon - 1), string.sub(key, colon + 1)
    redis.call('ZADD', rq .. ':executions:' .. id, 'XX', a.now_s + a.ttl_s + 60, execution)
    redis.call('EXPIRE', rq .. ':executions:' .. id, a.ttl_s + 60)
    if redis.call('EXISTS', job_key(id)) == 1 then -- else deleted by hand: leave no ghost of it
      redis.call('HSET', job_key(id), 'last_heartbeat', a.now)
    end
  end
end
local worker = rq .. ':worker:' .. a.worker
set_fields(worker, a.worker_fields)
redis.call('EXPIRE', worker, a.worker_ttl_s)
redis.call('EXPIRE', worker .. ':executions', a.worker_ttl_s)
redis.call('SADD', rq .. ':workers', worker)
redis.call('SADD', rq .. ':workers:' .. a.queue, worker)
return lost
