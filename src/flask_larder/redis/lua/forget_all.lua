-- Has the log of purges go on with one that hits everything, unless it has gone on by itself.
--   KEYS[1]  the log, a stream
--   ARGV[1]  where it would have gone on: behind an id, such as "(5-1"; "-" where none is known
--   ARGV[2]  the id for the record, above the one that is known, or "*"
--   ARGV[3]  about how many records the log keeps
--   ARGV[4]  and further: the fields of the record
-- Returns 1 if the record was added, else 0.
if #redis.call("XRANGE", KEYS[1], ARGV[1], "+", "COUNT", 1) > 0 then
    return 0
end
-- Ids stay above those of records that were removed: then the id may be too low, and any will do.
for _, id in ipairs({ARGV[2], "*"}) do
    local added = redis.pcall("XADD", KEYS[1], "MAXLEN", "~", ARGV[3], id, unpack(ARGV, 4))
    if type(added) ~= "table" then
        return 1
    elseif id == "*" then
        return added
    end
end
