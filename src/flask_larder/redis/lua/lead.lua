-- Gives a lease, unless something is stored under the key that it is for.
--   KEYS[1]  the lease
--   KEYS[2]  the key
--   ARGV[1]  the caller's token
--   ARGV[2]  the life of the lease, in milliseconds
-- Returns 1 if the lease is the caller's now, 0 if it is another's, and -1 if something is stored.
if redis.call("EXISTS", KEYS[2]) == 1 then
    return -1
elseif redis.call("SET", KEYS[1], ARGV[1], "NX", "PX", ARGV[2]) then
    return 1
end
return 0
