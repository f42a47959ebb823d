-- Has the log of purges go on with one that hits everything, unless it has gone on by itself.
--   KEYS[1]  the log, a stream
--   ARGV[1]  where it would have gone on: behind an id, such as "(5-1"; "-" where none is known
--   ARGV[2]  the milliseconds of the id that is known, or 0
--   ARGV[3]  the number for the id of the record, above that of the one that is known
--   ARGV[4]  about how many records the log keeps
--   ARGV[5]  and further: the fields of the record
-- Returns 1 if the record was added, else 0.
if #redis.call("XRANGE", KEYS[1], ARGV[1], "+", "COUNT", 1) > 0 then
    return 0
end
-- Others may have known later ones that are lost, and have stored what they made then.
local time = redis.call("TIME")
local ms = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
-- The known one as it is written: numbers are exact up to 2^53 only.
if tonumber(ARGV[2]) > tonumber(ms) then
    ms = ARGV[2]
end
-- Ids stay above those of records that were removed: then the id may be too low, and any will do.
for _, id in ipairs({ms .. "-" .. ARGV[3], "*"}) do
    local added = redis.pcall("XADD", KEYS[1], "MAXLEN", "~", ARGV[4], id, unpack(ARGV, 5))
    if type(added) ~= "table" then
        return 1
    elseif id == "*" then
        return added
    end
end
