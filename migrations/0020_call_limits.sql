-- What one call of an account's plugins may use, where it differs from what every account has: granted by an operator, and
-- lowered by the account itself. Two columns, because each may change its own without knowing the other's, and an account
-- must never get more by lowering less. Names and numbers; null: nothing was set.

alter table account_limit
    add call_limits         jsonb,
    add call_limits_lowered jsonb;
