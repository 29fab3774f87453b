-- What changed in the desk's record goes on the boards, in the order of its versions; what stands there already is
-- passed over, so that several desks may say the same.
-- a: keep (entries of a board that stay), changes [{version, department, case, row (JSON or ""), open (bool),
--    outcomes (JSON or "")}], in order of version; one version's changes in one call.
-- Returns the last version on the boards.

-- What stands on a board is made of the desk's record, and can be made of it anew: a key of another kind, or with
-- entries of somebody else's, must not stop the rest.
local function add(key, version, entry)
  clear_for(key, 'stream')
  local id = string.format('%.0f-0', version)
  local reply = redis.pcall('XADD', key, 'MAXLEN', '~', a.keep, id, unpack(entry))
  if type(reply) ~= 'table' or not reply.err then return end
  if string.find(reply.err, 'equal or smaller', 1, true) then
    -- An earlier call that failed half-way has added it.
    if #redis.call('XRANGE', key, id, id) > 0 then return end
    redis.call('DEL', key)
  end
  redis.call('XADD', key, id, unpack(entry))
end

-- What is no number counts as none; the desk finds out, and publishes everything anew.
local stands = redis.pcall('GET', 'almenara:board')
stands = type(stands) == 'string' and #stands < 16 and string.find(stands, '^%d+$') and tonumber(stands) or 0
local last = stands
for _, change in ipairs(a.changes) do
  if change.version > stands then
    local entry = {}
    if change.row ~= '' then
      entry = { 'row', change.row }
      clear_for('open:' .. change.department, 'hash')
      if change.open then
        redis.call('HSET', 'open:' .. change.department, change.case, change.row)
      else
        redis.call('HDEL', 'open:' .. change.department, change.case)
      end
    end
    if change.outcomes ~= '' then
      entry[#entry + 1] = 'outcomes'
      entry[#entry + 1] = change.outcomes
    end
    if #entry > 0 then
      add('board:' .. change.department, change.version, entry)
    end
    last = math.max(last, change.version)
  end
end
if last > stands then redis.call('SET', 'almenara:board', string.format('%.0f', last)) end
return last
