-- What every script shares. Each script is one atomic move of one or more incidents; nothing else writes
-- these keys. Arguments come as one JSON object in ARGV[1]; clocks are the broker's unless a field is RQ's
-- own, which hold the caller's clock as RQ writes them.
--
-- almenara:incident:<id>       hash    the incident record (shared/incidents.py lists its fields)
-- almenara:decisions:<id>      set     ids of the later decisions on an incident; goes when the incident does
-- almenara:incidents           zset    id -> received_at, epoch seconds; every incident there is
-- almenara:number              string  the last incident number given
-- almenara:counts              hash    what happened so far, by word
-- almenara:lease               zset    <id>:<execution> -> broker time in ms at which the lease ends
-- almenara:popped              zset    id -> broker time in ms at which a sweep first saw it popped, not started
-- almenara:swept               hash    last: broker time in ms of the last sweep; grace: none taken before it
-- almenara:changed             stream  field `id`: an incident that was decided, amended or sent again; a wake-up
--                                      for the desk, which reads the record and finds what it missed by itself
-- almenara:alive:<service>     zset    process -> broker time in s at which it last said that it lives
-- almenara:listening:<department> zset console -> broker time in s at which it last said that it listens
-- almenara:label_seen          hash    label of a watched camera -> broker time in s of its last picture
-- almenara:board               string  the last version of the desk's record that stands on the boards
-- almenara:model               hash    which model decides; written by operators, read by workers (shared/models.py)
-- almenara:models              stream  what became of models: announced, swapped, refused (shared/models.py)
-- open:<department>            hash    case -> row JSON, everything open on that board (shared/board.py)
-- board:<department>           stream  id <version>-0; fields `row`: row JSON, `outcomes`: JSON of moves' outcomes
-- moves:<department>           stream  field `move`: what a console asks for (shared/moves.py)
-- dispatch:<department>        stream  field `event`: a CloudEvents JSON object
-- webhooks:later:<name>        zset    <stream> <entry> -> broker time in s at which a webhook tries it again
-- webhooks:dead:<department>   stream  what webhooks gave up: webhook, event, reason, tries, at
-- webhooks:again:<name>        stream  what a person has a webhook deliver once more, and each CAP message of one
--                                      that sends these: event, department
-- webhooks:position:<name>     string  JSON of how far a webhook that sends CAP has read the desk's record
-- webhooks:following           hash    webhook that sends CAP -> JSON: department, version of the record that it has read, at
-- webhooks:disabled:<name>     string  JSON of why and when, while a webhook is sent nothing
-- rq:queue:classify            list    ids waiting; front is the left end, as RQ has it
-- rq:queue:classify:intermediate list  ids popped by a worker that has not started them
-- rq:wip:classify              zset    <id>:<execution> -> RQ's own expiry; `rq info` counts these
-- rq:finished:classify, rq:failed:classify  zset  RQ's registries
-- rq:job:<id>, rq:results:<id>, rq:executions:<id>, rq:execution:<id>:<execution>, rq:worker:<name>,
-- rq:worker:<name>:executions  as RQ 3 keeps them (tests/worker/test_rq_parity.py compares)

local a = cjson.decode(ARGV[1])
local rq = a.rq
local queue = rq .. ':queue:' .. a.queue
local intermediate = queue .. ':intermediate'
local wip = rq .. ':wip:' .. a.queue

local function incident_key(id) return 'almenara:incident:' .. id end
local function job_key(id) return rq .. ':job:' .. id end
local function member(id, execution) return id .. ':' .. execution end
-- A key that is made anew from what is known elsewhere: one of another kind must not stop the rest.
local function clear_for(key, kind)
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
end

local function count(word, by) redis.call('HINCRBY', 'almenara:counts', word, by or 1) end

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Allowed moves of an incident on its way to a verdict. What a decided one is held for can be amended
-- (amend.lua), by the desk alone.
local moves = {
  queued = { in_flight = true },
  in_flight = { queued = true, decided = true },
}

local function check_move(id, to)
  local from = redis.call('HGET', incident_key(id), 'state')
  if not (from and moves[from] and moves[from][to]) then
    error('incident ' .. id .. ' may not move from ' .. tostring(from) .. ' to ' .. to)
  end
end

local function move(id, to)
  check_move(id, to)
  redis.call('HSET', incident_key(id), 'state', to)
end

local function is_current(id, execution)
  return redis.call('HGET', incident_key(id), 'execution') == execution
    and redis.call('ZSCORE', 'almenara:lease', member(id, execution)) ~= false
end

-- Take an execution out of every place that says it is running.
local function close_execution(id, execution, worker)
  local key = member(id, execution)
  redis.call('ZREM', 'almenara:lease', key)
  redis.call('ZREM', wip, key)
  redis.call('DEL', rq .. ':execution:' .. key)
  redis.call('ZREM', rq .. ':executions:' .. id, execution)
  redis.call('SREM', rq .. ':worker:' .. worker .. ':executions', key)
  if redis.call('HGET', incident_key(id), 'execution') == execution then
    redis.call('HDEL', incident_key(id), 'execution')
  end
end

local function back_to_queue(id)
  if redis.call('EXISTS', job_key(id)) == 0 then return end -- deleted by hand; audit finds it
  redis.call('HSET', job_key(id), 'status', 'queued')
  redis.call('LPUSH', queue, id)
end

-- Tells the desk. Bounded, for a place without one: it finds what it missed in almenara:incidents.
local function changed(id) redis.call('XADD', 'almenara:changed', 'MAXLEN', '~', 100000, '*', 'id', id) end

-- A worker that was only slow, not dead, clears the picture it was taken from.
local function absolve(id, execution)
  local key = incident_key(id)
  if redis.call('HGET', key, 'crashed_execution') ~= execution then return end
  redis.call('HINCRBY', key, 'crashes', -1)
  if redis.call('HGET', key, 'crashed_alone') == '1' then redis.call('HINCRBY', key, 'crashes_alone', -1) end
  redis.call('HDEL', key, 'crashed_execution', 'crashed_alone')
end

-- Which step of which execution decided: a sweeper fails what a worker that only sleeps may still finish.
local function decider(execution)
  return a.exc_info and execution .. ':failed' or execution
end

local function superseded(id, execution)
  -- The caller repeats a step whose reply was lost on the way.
  if redis.call('HGET', incident_key(id), 'decided_execution') == decider(execution) then return 'published' end
  count('superseded')
  absolve(id, execution)
  return 'superseded'
end

local function set_fields(key, fields)
  for name, value in pairs(fields) do redis.call('HSET', key, name, value) end
end

-- A script that fails keeps what it wrote, so what could fail is asked first, and the streams are written
-- before the incident counts as decided.
local function dispatch()
  for _, entry in ipairs(a.entries) do
    local kind = redis.call('TYPE', 'dispatch:' .. entry[1]).ok
    if kind ~= 'none' and kind ~= 'stream' then error('dispatch:' .. entry[1] .. ' holds a ' .. kind) end
  end
  for _, entry in ipairs(a.entries) do redis.call('XADD', 'dispatch:' .. entry[1], '*', 'event', entry[2]) end
end

-- The verdict and its dispatches, in the same step as the end of the job.
local function decide(id)
  check_move(id, 'decided')
  dispatch()
  move(id, 'decided')
  set_fields(incident_key(id), a.incident)
  redis.call('HSET', incident_key(id), 'decided_execution', decider(a.execution))
  redis.call('EXPIRE', incident_key(id), a.keep_s)
  count(a.incident.verdict)
  count('entries', #a.entries)
  changed(id)
end

-- What RQ itself writes when a job ends, of whatever kind.
local function end_job(id, status, registry, keep_s, more)
  if redis.call('EXISTS', job_key(id)) == 0 then return end -- deleted by hand while it ran
  redis.call('HSET', job_key(id), 'status', status, 'ended_at', a.now, 'last_heartbeat', a.now)
  if more then redis.call('HSET', job_key(id), unpack(more)) end
  redis.call('EXPIRE', job_key(id), keep_s)
  redis.call('ZADD', rq .. ':' .. registry .. ':' .. a.queue, a.now_s + keep_s, id)
  local results, fields = rq .. ':results:' .. id, {}
  for name, value in pairs(a.result) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  redis.call('XADD', results, 'MAXLEN', '~', 10, '*', unpack(fields))
  redis.call('EXPIRE', results, keep_s)
  local worker = rq .. ':worker:' .. a.worker
  if redis.call('EXISTS', worker) == 1 then
    redis.call('HINCRBY', worker, a.counter, 1)
    redis.call('HINCRBYFLOAT', worker, 'total_working_time', a.working_s)
  end
end
