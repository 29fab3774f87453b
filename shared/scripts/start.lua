-- Start up to #a.executions jobs on one worker: `first` (popped into the intermediate queue, or '') and then
-- from the front of the queue; none while RQ's workers are suspended. A suspect, a picture that was in a
-- crashed batch, runs alone: the worker holds nothing else, so that only it can be blamed.
-- a: worker, first, executions [id], lease_s, ttl_s (RQ's bookkeeping), now, now_s.
-- Returns a list of {id, execution, [job field, value, ...], [incident field, value, ...]}.
local started = {}
local ended = { finished = true, failed = true, canceled = true, stopped = true }
local worker_executions = rq .. ':worker:' .. a.worker .. ':executions'

local function start(id, execution)
  local key = member(id, execution)
  redis.call('ZADD', 'almenara:lease', now_ms() + a.lease_s * 1000, key)
  redis.call('HSET', rq .. ':execution:' .. key, 'id', execution, 'job_id', id, 'created_at', a.now_s,
    'last_heartbeat', a.now_s, 'worker_name', a.worker)
  redis.call('EXPIRE', rq .. ':execution:' .. key, a.ttl_s)
  redis.call('ZADD', rq .. ':executions:' .. id, a.now_s + a.ttl_s + 60, execution)
  redis.call('EXPIRE', rq .. ':executions:' .. id, a.ttl_s + 60)
  redis.call('ZADD', wip, a.now_s + a.ttl_s, key)
  redis.call('SADD', worker_executions, key)
  redis.call('HSET', job_key(id), 'last_heartbeat', a.now, 'status', 'started', 'started_at', a.now,
    'worker_name', a.worker)
  redis.call('PERSIST', job_key(id))
  local incident = incident_key(id)
  if redis.call('EXISTS', incident) == 1 then
    -- A job put back by hand after its incident was decided runs to its end, but decides nothing. A damaged
    -- state is the worker's to refuse: an error here would stop every worker at this job.
    if redis.call('HGET', incident, 'state') == 'queued' then move(id, 'in_flight') end
    redis.call('HSET', incident, 'execution', execution, 'worker', a.worker, 'alone', '0')
  end
  started[#started + 1] = { id, execution, redis.call('HGETALL', job_key(id)), redis.call('HGETALL', incident) }
end

local function is_suspect(id)
  return (tonumber(redis.call('HGET', incident_key(id), 'crashes') or 0) or 0) > 0
end

-- The caller repeats a step whose reply was lost on the way: the same executions again.
local asked, held, may_start = {}, {}, redis.call('EXISTS', rq .. ':suspended') == 0
for _, execution in ipairs(a.executions) do asked[execution] = true end
for _, key in ipairs(redis.call('SMEMBERS', worker_executions)) do
  local colon = string.find(key, ':', 1, true)
  local id, execution = string.sub(key, 1, colon - 1), string.sub(key, colon + 1)
  if asked[execution] then
    started[#started + 1] = { id, execution, redis.call('HGETALL', job_key(id)), redis.call('HGETALL', incident_key(id)) }
  elseif redis.call('ZSCORE', 'almenara:lease', key) then
    held[#held + 1] = id
    if is_suspect(id) then may_start = false end
  end
end
if #started > 0 then return started end

if not may_start then
  if a.first ~= '' and redis.call('LREM', intermediate, 1, a.first) == 1 then
    redis.call('ZREM', 'almenara:popped', a.first)
    redis.call('LPUSH', queue, a.first)
  end
  return started
end

local first = a.first
while #started < #a.executions do
  local id
  if first ~= '' then
    id, first = first, ''
    redis.call('ZREM', 'almenara:popped', id)
    if redis.call('LREM', intermediate, 1, id) == 0 then id = '' end -- a sweep took it back meanwhile
  else
    id = redis.call('LPOP', queue)
  end
  if not id then break end
  if id ~= '' then
    local incident = incident_key(id)
    local suspect = is_suspect(id)
    if suspect and #started + #held > 0 then
      redis.call('LPUSH', queue, id)
      break
    end
    local status = redis.call('HGET', job_key(id), 'status')
    if not status then
      count('vanished') -- deleted by hand; `almenara audit --repair` gives the incident a new job
    elseif ended[status] then
      count('double_popped') -- a second place in the queue of a job that has ended
    elseif redis.call('HGET', incident, 'execution') then
      count('double_popped') -- its id was in the queue twice; the other one is running
    else
      start(id, a.executions[#started + 1])
      if suspect then break end
    end
  end
end
local function note_alone(id, alone)
  if redis.call('EXISTS', incident_key(id)) == 1 then redis.call('HSET', incident_key(id), 'alone', alone) end
end

if #started == 1 and #held == 0 then note_alone(started[1][1], '1') end
if #started > 0 then
  if #held == 1 then note_alone(held[1], '0') end
  redis.call('HSET', rq .. ':worker:' .. a.worker, 'state', 'busy')
  redis.call('EXPIRE', worker_executions, a.ttl_s + 60)
end
return started
