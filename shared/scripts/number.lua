-- The last number given is at least this one: a broker that lost its data gives none that is in use again.
-- a: number.
-- Returns the last number given.
local stands = redis.pcall('GET', 'almenara:number')
stands = type(stands) == 'string' and tonumber(stands) or 0
if stands >= a.number then return stands end
redis.call('SET', 'almenara:number', string.format('%.0f', a.number))
return a.number
