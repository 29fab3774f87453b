-- Take back what dead workers held: expired leases, and jobs popped but not started for stuck_s. Costs no RQ
-- retry. Every worker sweeps; one at a time is enough, so two at once do no harm.
-- a: lease_s, stuck_s, limit.
-- Returns {recovered, [{id, execution, worker}]}: the second list killed two workers alone and is for the caller
-- to quarantine; it stays leased meanwhile, so that a caller that dies leaves it to the next sweep.
local now, recovered, killers = now_ms(), 0, {}
local lease_ms = a.lease_s * 1000

-- After a gap in sweeping (the broker was away) live workers could not renew: let them first. Leases are
-- renewed every quarter, so that the shortest gap that can end one is three quarters.
-- Not twice in a row: the gap may be the long batches of the only worker there is.
local last = tonumber(redis.call('HGET', 'almenara:swept', 'last') or 0)
local grace = tonumber(redis.call('HGET', 'almenara:swept', 'grace') or 0)
if last > 0 and now - last > lease_ms * 0.75 and grace < last then
  grace = now + lease_ms / 2
  redis.call('HSET', 'almenara:swept', 'grace', grace)
end
redis.call('HSET', 'almenara:swept', 'last', now)

local function take_back(key)
  local colon = string.find(key, ':', 1, true)
  local id, execution = string.sub(key, 1, colon - 1), string.sub(key, colon + 1)
  local incident, undecided = incident_key(id), false
  local worker = redis.call('HGET', rq .. ':execution:' .. key, 'worker_name')
    or redis.call('HGET', incident, 'worker') or ''
  if redis.call('HGET', incident, 'execution') == execution then
    local alone = redis.call('HGET', incident, 'alone')
    redis.call('HINCRBY', incident, 'crashes', 1)
    redis.call('HSET', incident, 'crashed_execution', execution, 'crashed_alone', alone)
    if alone == '1' and redis.call('HINCRBY', incident, 'crashes_alone', 1) >= 2 then
      redis.call('ZADD', 'almenara:lease', now + lease_ms, key)
      killers[#killers + 1] = { id, execution, worker }
      return
    end
    undecided = redis.call('HGET', incident, 'state') == 'in_flight'
    if undecided then move(id, 'queued') end
  end
  close_execution(id, execution, worker)
  local status = redis.call('HGET', job_key(id), 'status')
  -- RQ's own cleaning may have come first. It queued the job: twice is harmless. It had no retry left: nobody
  -- has looked at the picture yet.
  local given_up = status == 'failed' and undecided
  if given_up then redis.call('ZREM', rq .. ':failed:' .. a.queue, id) end
  if status == 'started' or status == 'queued' or given_up then
    back_to_queue(id)
    recovered = recovered + 1
  end
end

if now >= grace then
  for _, key in ipairs(redis.call('ZRANGE', 'almenara:lease', '-inf', now, 'BYSCORE', 'LIMIT', 0, a.limit)) do
    take_back(key)
  end
end

local popped = {}
for _, id in ipairs(redis.call('LRANGE', intermediate, 0, -1)) do
  popped[id] = true
  redis.call('ZADD', 'almenara:popped', 'NX', now, id)
  if now - tonumber(redis.call('ZSCORE', 'almenara:popped', id)) >= a.stuck_s * 1000 then
    redis.call('LREM', intermediate, 0, id)
    redis.call('ZREM', 'almenara:popped', id)
    redis.call('LPUSH', queue, id)
    recovered = recovered + 1
  end
end
for _, id in ipairs(redis.call('ZRANGE', 'almenara:popped', 0, -1)) do
  if not popped[id] then redis.call('ZREM', 'almenara:popped', id) end
end

if recovered > 0 then count('recovered', recovered) end
return { recovered, killers }
