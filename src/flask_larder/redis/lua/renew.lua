-- Lets a lease live on, if it is still the caller's.
--   KEYS[1]  the lease
--   ARGV[1]  the caller's token
--   ARGV[2]  its life from now on, in milliseconds
-- Returns 1 if the lease was the caller's, else 0.
if redis.call("GET", KEYS[1]) == ARGV[1] then
    return redis.call("PEXPIRE", KEYS[1], ARGV[2])
end
return 0
