%% A gometa client in stock Erlang alone: an implementation of docs/wire.md.
%%
%%     {ok, Client} = gometa_raw:start_link("127.0.0.1:5003,127.0.0.1:6003"),
%%     {ok, #{revision := Revision}} = gometa_raw:set(Client, <<"k">>, <<"v">>),
%%     {ok, #{value := <<"v">>}} = gometa_raw:get(Client, <<"k">>),
%%     {error, #{kind := not_found}} = gometa_raw:get(Client, <<"no such key">>).
%%
%% There are three kinds of processes. A connection owns a socket and matches responses to requests by id. The client
%% chooses the node, dials, and assigns the sequence numbers of the session's writes. A call runs in the process of its
%% caller (attempts, back-off, deadline, outcome), so killing that process cancels the call. Any number of processes may
%% use one client.
-module(gometa_raw).

-export([start_link/1, start_link/2, stop/1]).
-export([add/3, add/4, set/3, set/4, cas/4, cas/5, delete/2, delete/3, get/2, get/3]).
-export([history/2, history/3, range/2, range/3, scan/2, scan/3, count/2, count/3, delete_prefix/2, delete_prefix/3]).
-export([txn/2, txn/3]).
-export([settings/1, settings/2, set_setting/3, set_setting/4]).
-export([status/1, status/2, view/1, view/2, history_id/1, history_id/2, cancel/2, kinds/0]).
-export([membership/1, membership/2, promote_member/2, promote_member/3, remove_member/2, remove_member/3]).
-export([replace_member/3, replace_member/4]).
-export([cancel_promotion/2, cancel_promotion/3, transfer_leadership/2, transfer_leadership/3]).
-export([safe_to_stop/2, safe_to_stop/3]).

%% The maximum length of the first frame, before the limits of the node are known.
-define(WELCOME_MAX, 65536).
%% Keepalive, in ms: while a response is pending and nothing is received for the interval, the client sends a Ping.
-define(KEEPALIVE_INTERVAL, 500).
%% If nothing is received for another timeout, it closes the connection.
-define(KEEPALIVE_TIMEOUT, 1000).
%% The maximum interval of Pings on an idle connection, in ms.
-define(IDLE_MAX, 5000).
%% The interval of periodic work of connections and client, in ms.
-define(TICK, 100).
%% The back-off in ms, from and to: between attempts; before an address that failed is dialed again.
-define(BACKOFF, {10, 200}).
-define(DIAL_BACKOFF, {20, 500}).
%% If a dial takes longer, in ms, the next address is dialed as well.
-define(STAGGER, 250).
-define(DIALS_MAX, 4).
%% The longest wait of stop/1 for the end of the session, in ms.
-define(CLOSE_TIMEOUT, 200).
%% The most bytes of a frame besides the operation: id, deadline, session, numbers of the write.
-define(ENVELOPE_MAX, 64).
%% The longest timeout that a request can carry, in ms.
-define(TIMEOUT_MAX, 16#FFFFFFFF).

%% ------------------------------------------------------------------------------------------------------ calls
%%
%% Keys and values are binaries. Options: timeout in ms, cancel (a reference, see cancel/2); for delete revision, for
%% reads local (a boolean) and min_revision, for get at_revision, for writes and transactions guard (#{key,
%% create_revision}, such as an entry: else guard_failed), for changes of a member follows (#{epoch, revision}). Calls return {ok, Map} or {error, Map}. An error has kind, number, retryable, outcome (not_applied or
%% unknown), message, and depending on its kind actual_revision and leader. When the ensemble was founded anew from old data,
%% calls fail with history_changed: start another client, and forget the revisions that were read by this one.

%% Options: timeout of calls (5000 ms), connect_timeout (2000 ms), name (logged by the nodes).
start_link(Peers) ->
    start_link(Peers, #{}).

start_link(Peers, Options) ->
    try {[checked(maps:get(Name, Options, 1)) || Name <- [timeout, connect_timeout]], addresses(Peers)} of
        {_, Seeds} ->
            Seen = atomics:new(1, [{signed, false}]),
            Owner = self(),
            Pid = spawn_link(fun() -> client_start(Owner, Seeds, Seen, Options) end),
            {ok, #{pid => Pid, seen => Seen, timeout => maps:get(timeout, Options, 5000)}}
    catch
        throw:{failed, Error} -> {error, Error}
    end.

%% Closes the client, fails calls in flight, and ends the session, which takes at most 200 ms.
stop(#{pid := Pid}) ->
    Monitor = monitor(process, Pid),
    Pid ! {stop, self(), Monitor},
    receive
        {Monitor, Closer} ->
            Last = monitor(process, Closer),
            receive {'DOWN', Last, process, Closer, _} -> demonitor(Monitor, [flush]) end,
            ok;
        {'DOWN', Monitor, process, Pid, _} -> ok
    end.

checked(Timeout) when is_integer(Timeout), Timeout > 0, Timeout =< ?TIMEOUT_MAX -> Timeout;
checked(Timeout) ->
    Message = io_lib:format("timeout is ~0p; it is a number of milliseconds from 1 to ~b", [Timeout, ?TIMEOUT_MAX]),
    throw({failed, failure(invalid_argument, Message, not_applied)}).

%% Cancels the call that Pid makes with the option #{cancel => Ref}.
cancel(Pid, Ref) ->
    Pid ! {cancel, Ref},
    ok.

add(Client, Key, Value) -> add(Client, Key, Value, #{}).
add(Client, Key, Value, Options) ->
    write(Client, add, Key, Value, blob(11, [blob(1, Key), blob(2, Value)]), 12, Options).

set(Client, Key, Value) -> set(Client, Key, Value, #{}).
set(Client, Key, Value, Options) ->
    write(Client, set, Key, Value, blob(12, [blob(1, Key), blob(2, Value)]), 12, Options).

%% Replaces a key if its mod_revision is Revision, 0 if it must not exist.
cas(Client, Key, Revision, Value) -> cas(Client, Key, Revision, Value, #{}).
cas(Client, Key, Revision, Value, Options) ->
    write(Client, cas, Key, Value, blob(13, [blob(1, Key), uint(2, Revision), blob(3, Value)]), 12, Options).

delete(Client, Key) -> delete(Client, Key, #{}).
delete(Client, Key, Options) ->
    %% An `optional` field: zero is encoded too.
    Revision = [[varint(2 bsl 3), varint(R)] || #{revision := R} <- [Options]],
    write(Client, delete, Key, <<>>, blob(14, [blob(1, Key), Revision]), 13, Options).

get(Client, Key) -> get(Client, Key, #{}).
get(Client, Key, #{at_revision := Revision} = Options) ->
    %% A range of one key: nothing is between a key and the same key with a zero byte behind it.
    Range = #{start => Key, 'end' => <<Key/binary, 0>>, at_revision => Revision},
    call(Client, #{name => get, key => Key}, Options, fun(Call) ->
        case page(Call, Range, none) of
            #{entries := [Entry]} -> Entry;
            #{entries := []} -> fail(Call, not_found, "there was no such key at that revision")
        end
    end);
get(Client, Key, Options) ->
    Local = case oldest(Client, Options) of
        none -> [];
        Revision -> [uint(2, 1), uint(3, Revision)]
    end,
    call(Client, #{name => get, key => Key}, Options, fun(Call) ->
        entry(expect(Call, 14, exchange(Call, blob(15, [blob(1, Key), Local]), none)))
    end).

%% The revision that a local read must have; none for a linearizable one.
oldest(#{seen := Seen}, #{local := true} = Options) -> max(maps:get(min_revision, Options, 0), atomics:get(Seen, 1));
oldest(_, _) -> none.

%% Reads a page of the versions of a key that the ensemble keeps, newest first; deletions are versions too.
%%
%% Options are also before_revision, limit and keys_only. A page has versions, the revision that was read at, the
%% oldest_revision, where the history begins, and next_before, which is the before_revision of the next page, or none after
%% the last one. A deletion has deleted and revision only.
history(Client, Key) -> history(Client, Key, #{}).
history(Client, Key, Options) ->
    Numbers = [uint(Field, maps:get(Name, Options, 0)) || {Field, Name} <- [{2, before_revision}, {3, limit}]],
    KeysOnly = [uint(4, 1) || maps:get(keys_only, Options, false)],
    Local = case oldest(Client, Options) of
        none -> [];
        Revision -> [uint(5, 1), uint(6, Revision)]
    end,
    call(Client, #{name => get_history, key => Key}, Options, fun(Call) ->
        to_history(expect(Call, 24, exchange(Call, blob(30, [blob(1, Key), Numbers, KeysOnly, Local]), none)))
    end).

to_history(Page) ->
    Next = case number(2, Page) of 0 -> none; Before -> Before end,
    #{versions => [to_version(Version) || Version <- messages(1, Page)], next_before => Next,
      revision => number(3, Page), oldest_revision => number(4, Page)}.

to_version(Version) ->
    case number(2, Version) of
        0 -> #{deleted => false, revision => number(1, Version), version => number(3, Version),
               create_revision => number(4, Version), value => bytes(5, Version), value_size => number(6, Version)};
        _ -> #{deleted => true, revision => number(1, Version)}
    end.

%% Reads a page of keys in the order of their bytes: what comes first in the range, at most 1,000 entries and 1 MiB.
%%
%% A range is a map with any of start, 'end' (not part of the range), prefix, at_revision, limit, reverse, keys_only,
%% count_only and delimiter. A page has entries, count, the revision that was read at, and next, which is where the next
%% page begins, or none after the last one. With a delimiter, keys that share what comes before its first occurrence
%% behind the prefix are one entry, a group (is_group).
range(Client, Range) -> range(Client, Range, #{}).
range(Client, Range, Options) ->
    call(Client, #{name => range}, Options, fun(Call) -> page(Call, Range, oldest(Client, Options)) end).

%% Reads all entries of a range at one revision. The timeout is that of a page.
scan(Client, Range) -> scan(Client, Range, #{}).
scan(Client, Range, Options) ->
    case range(Client, Range, Options) of
        {ok, #{entries := Entries, revision := Revision} = Page} ->
            case following(Range, Page) of
                none -> {ok, #{entries => Entries, revision => Revision}};
                Left ->
                    %% Local, since the revision alone determines the answer.
                    case scan(Client, Left, Options#{local => true}) of
                        {ok, #{entries := Others} = Rest} -> {ok, Rest#{entries := Entries ++ Others}};
                        Failed -> Failed
                    end
            end;
        Failed -> Failed
    end.

%% What a page has left of a range.
following(#{limit := Limit}, #{count := Count}) when 0 < Limit, Limit =< Count -> none;
following(_, #{next := none}) -> none;
following(Range, #{next := Next, count := Count, revision := Revision}) ->
    Limit = max(maps:get(limit, Range, 0) - Count, 0),
    Bound = case Range of #{reverse := true} -> 'end'; _ -> start end,
    Range#{Bound => Next, limit => Limit, at_revision => Revision}.

%% Counts the keys of a range at one revision, whatever its limit; with a delimiter, each group once.
count(Client, Range) -> count(Client, Range, #{}).
count(Client, Range, Options) ->
    case range(Client, Range#{count_only => true, limit => 0}, Options) of
        {ok, #{count := Count, next := none}} -> {ok, #{count => Count}};
        {ok, #{count := Count} = Page} ->
            case count(Client, following(Range#{limit => 0}, Page), Options#{local => true}) of
                {ok, #{count := Others}} -> {ok, #{count => Count + Others}};
                Failed -> Failed
            end;
        Failed -> Failed
    end.

%% Deletes the keys that begin with a prefix, one after the other: not atomic.
delete_prefix(Client, Prefix) -> delete_prefix(Client, Prefix, #{}).
delete_prefix(Client, Prefix, Options) ->
    case scan(Client, #{prefix => Prefix, keys_only => true}, Options) of
        {ok, #{entries := Entries}} -> delete_each(Client, [Key || #{key := Key} <- Entries], Options, 0);
        Failed -> Failed
    end.

delete_each(_, [], _, Deleted) -> {ok, #{deleted => Deleted}};
delete_each(Client, [Key | Others], Options, Deleted) ->
    case delete(Client, Key, Options) of
        {ok, #{existed := true}} -> delete_each(Client, Others, Options, Deleted + 1);
        {ok, #{existed := false}} -> delete_each(Client, Others, Options, Deleted);
        {error, Error} -> {error, Error#{outcome := unknown}}
    end.

page(Call, Range, Oldest) ->
    Local = case {Oldest, Range} of
        {none, _} -> [];
        {_, #{at_revision := At}} when At > 0 -> uint(10, 1);
        _ -> [uint(10, 1), uint(11, Oldest)]
    end,
    to_page(expect(Call, 21, exchange(Call, blob(26, [range_fields(Range), Local]), none))).

range_fields(Range) ->
    Delimiter = blob(9, maps:get(delimiter, Range, <<>>)),
    Numbers = [uint(Field, maps:get(Name, Range, 0)) || {Field, Name} <- [{4, at_revision}, {5, limit}]],
    Flags = [uint(Field, 1) || {Field, Name} <- [{6, reverse}, {7, keys_only}, {8, count_only}],
                               maps:get(Name, Range, false)],
    [bounds(Range), Delimiter, Numbers, Flags].

%% Those of a range that has nothing else.
bounds_only(Range) ->
    case maps:without([start, 'end', prefix], Range) of
        Others when map_size(Others) =:= 0 -> bounds(Range);
        _ -> error(badarg)
    end.

bounds(Range) ->
    [blob(Field, maps:get(Name, Range, <<>>)) || {Field, Name} <- [{1, start}, {2, 'end'}, {3, prefix}]].

to_page(Page) ->
    #{entries => [entry(Entry) || Entry <- messages(1, Page)], count => number(2, Page), revision => number(4, Page),
      next => case bytes(3, Page) of <<>> -> none; Next -> Next end}.

entry(Entry) ->
    #{key => bytes(1, Entry), value => bytes(2, Entry), version => number(3, Entry),
      create_revision => number(4, Entry), mod_revision => number(5, Entry), is_group => number(6, Entry) =/= 0}.

%% Executes several operations as one: those of then if every comparison holds, else those of otherwise.
%%
%% A transaction is a map with any of 'when', then and otherwise, which are lists. A comparison is {create_revision |
%% mod_revision, Key, Relation, Revision} or {value, Key, Relation, Value}, with Relation one of '=', '!=', '<', '>'; or
%% {range, Range, Count, Revision}: the bounds of the range have so many keys, none written after the revision. An
%% operation is {set, Key, Value}, {delete, Key}, {get, Key}, {range, Range} or {delete_range, Range}, which deletes at
%% most 1,000 keys. The answer has succeeded, revision, and results, one for each executed operation: what set, delete,
%% get and range return as a map, the count of a deleted range and its revision, not_found of a get, or
%% {error, Error} if the answer has no room for it (too_large) or the history begins behind the transaction (compacted).
%% If neither branch writes it is a read of one revision, with the options local and min_revision.
txn(Client, Txn) -> txn(Client, Txn, #{}).
txn(Client, Txn, Options) ->
    [When, Then, Otherwise] = [maps:get(Name, Txn, []) || Name <- ['when', then, otherwise]],
    Writes = lists:any(fun(Op) -> lists:member(element(1, Op), [set, delete, delete_range]) end, Then ++ Otherwise),
    Local = case Writes orelse oldest(Client, Options) of
        true -> [];
        none -> [];
        Revision -> [uint(4, 1), uint(5, Revision)]
    end,
    Operation = blob(27, [[blob(1, comparison(Compare)) || Compare <- When], [blob(2, operation(Op)) || Op <- Then],
                          [blob(3, operation(Op)) || Op <- Otherwise], Local]),
    %% A node refuses the guard of a read.
    Guarded = [Operation | guard(Options)],
    call(Client, #{name => txn, effect => Writes}, Options, fun(Call) ->
        Answer = expect(Call, 22, case Writes of
            true -> once(Call, Guarded, element(1, ?BACKOFF));
            false -> exchange(Call, Guarded, none)
        end),
        #{succeeded => number(2, Answer) =/= 0, revision => number(1, Answer),
          results => [result(Result) || Result <- messages(3, Answer)]}
    end).

comparison({range, Range, Count, Revision}) ->
    blob(6, [bounds_only(Range), uint(4, Count), uint(5, Revision)]);
comparison({Fact, Key, Relation, Operand}) ->
    %% One of a `oneof`: zero is encoded too.
    Encoded = case Fact of
        create_revision -> [varint(3 bsl 3), varint(Operand)];
        mod_revision -> [varint(4 bsl 3), varint(Operand)];
        value -> blob(5, Operand)
    end,
    [blob(1, Key), uint(2, maps:get(Relation, #{'=' => 0, '!=' => 1, '<' => 2, '>' => 3})), Encoded].

operation({set, Key, Value}) -> blob(1, [blob(1, Key), blob(2, Value)]);
operation({delete, Key}) -> blob(2, blob(1, Key));
operation({get, Key}) -> blob(3, blob(1, Key));
operation({range, Range}) -> blob(4, range_fields(Range));
operation({delete_range, Range}) -> blob(5, bounds_only(Range)).

result([{1, Written} | _]) -> written(fields(Written));
result([{2, Deleted} | _]) -> deleted(fields(Deleted));
result([{3, Entry} | _]) -> entry(fields(Entry));
result([{4, Page} | _]) -> to_page(fields(Page));
result([{5, Error} | _]) ->
    case wire_error(fields(Error)) of
        #{kind := not_found} -> not_found;
        Failure -> {error, Failure}
    end;
result([{6, Deleted} | _]) ->
    Range = fields(Deleted),
    #{count => number(2, Range), revision => number(1, Range)};
result(_) -> {error, failure(internal, "the result is of an unknown kind", not_applied)}.

written(Written) -> #{revision => number(1, Written), version => number(2, Written)}.

deleted(Deleted) -> #{existed => number(2, Deleted) =/= 0, revision => number(1, Deleted)}.

%% The settings of the ensemble, ascending by name, as the connected node has applied them.
settings(Client) -> settings(Client, #{}).
settings(Client, Options) ->
    call(Client, #{name => list_settings}, Options, fun(Call) ->
        Settings = expect(Call, 23, exchange(Call, blob(28, <<>>), none)),
        #{settings => [setting(Setting) || Setting <- messages(1, Settings)]}
    end).

setting(Setting) ->
    [Default, Min, Max] = [number(Field, Setting) || Field <- [3, 4, 5]],
    IsSet = has(2, Setting),
    Value = case IsSet of true -> number(2, Setting); false -> Default end,
    #{name => bytes(1, Setting), value => Value, is_set => IsSet, default => Default, min => Min, max => Max}.

%% Changes a setting of the ensemble; the value may be default. The result has the revision of the change.
set_setting(Client, Name, Value) -> set_setting(Client, Name, Value, #{}).
set_setting(Client, Name, Value, Options) ->
    %% An `optional` field: zero is encoded too.
    Chosen = [[varint(2 bsl 3), varint(Value)] || Value =/= default],
    Operation = [blob(29, [blob(1, Name), Chosen]) | guard(Options)],
    call(Client, #{name => set_setting, effect => true}, Options, fun(Call) ->
        #{revision => number(1, expect(Call, 12, once(Call, Operation, element(1, ?BACKOFF))))}
    end).

status(Client) -> status(Client, #{}).
status(Client, Options) ->
    call(Client, #{name => status}, Options, fun(Call) ->
        Status = expect(Call, 15, exchange(Call, blob(16, <<>>), none)),
        #{node => number(1, Status), role => role(number(2, Status)), leader => number(3, Status),
          epoch => number(4, Status), last_revision => number(5, Status), commit_revision => number(6, Status),
          applied_revision => number(7, Status), state_hash => bytes(8, Status), sessions => number(9, Status),
          votes => number(10, Status) =/= 0, detail => bytes(11, Status), version => bytes(12, Status),
          keys => number(15, Status), storage => storage(message(16, Status)),
          peers => [#{member => member(message(1, Peer)), votes => number(2, Peer) =/= 0,
                      connected => number(3, Peer) =/= 0, acked_revision => number(4, Peer),
                      detail => bytes(5, Peer)} || Peer <- messages(14, Status)]}
    end).

%% Role, leader and members, from the latest View of the connected node.
view(Client) -> view(Client, #{}).
view(Client, Options) ->
    call(Client, #{name => members}, Options, fun(Call) ->
        #{view := View} = connected(Call, none),
        View
    end).

%% The id of the ensemble's history, which becomes higher when the ensemble is founded anew.
history_id(Client) -> history_id(Client, #{}).
history_id(Client, Options) ->
    call(Client, #{name => history_id}, Options, fun(Call) ->
        #{ensemble := Ensemble} = connected(Call, none),
        #{history => number(2, fields(Ensemble))}
    end).

%% Requests about the members. A change is idempotent by what it names: if the answer was lost, make it again.

%% The members with their roles, as known to the connected node.
membership(Client) -> membership(Client, #{}).
membership(Client, Options) ->
    call(Client, #{name => list_members}, Options, fun(Call) ->
        to_membership(expect(Call, 18, exchange(Call, blob(23, <<>>), none)))
    end).

%% Makes a learner a voter.
promote_member(Client, Node) -> promote_member(Client, Node, #{}).
promote_member(Client, Node, Options) -> change_one(Client, promote_member, 19, Node, Options).

%% Removes a voter or a learner; it is no error if the node is no member.
remove_member(Client, Node) -> remove_member(Client, Node, #{}).
remove_member(Client, Node, Options) -> change_one(Client, remove_member, 20, Node, Options).

%% Makes a learner, the replacement, a voter, and removes the node. The result says that this is recorded, not that it is done.
replace_member(Client, Node, Replacement) -> replace_member(Client, Node, Replacement, #{}).
replace_member(Client, Node, Replacement, Options) ->
    change(Client, replace_member, 25, [fixed64(1, Node), fixed64(2, Replacement), follows(3, Options)], Options).

%% Leaves a learner that is to become a voter a learner.
cancel_promotion(Client, Node) -> cancel_promotion(Client, Node, #{}).
cancel_promotion(Client, Node, Options) -> change_one(Client, cancel_promotion, 21, Node, Options).

change_one(Client, Name, Field, Node, Options) ->
    change(Client, Name, Field, [fixed64(1, Node), follows(2, Options)], Options).

%% Written also if both numbers are 0.
follows(Field, Options) ->
    [blob(Field, [uint(1, Epoch), uint(2, Revision)])
     || #{follows := #{epoch := Epoch, revision := Revision}} <- [Options]].

change(Client, Name, Field, Message, Options) ->
    call(Client, #{name => Name, effect => true}, Options, fun(Call) ->
        Result = expect(Call, 17, exchange(Call, blob(Field, Message), none)),
        #{membership => to_membership(message(1, Result)), changed => number(2, Result) =/= 0}
    end).

%% Hands the leadership over to a voter, or with any to any other one. The result has the node that leads now.
transfer_leadership(Client, To) -> transfer_leadership(Client, To, #{}).
transfer_leadership(Client, any, Options) -> transfer_leadership(Client, 0, Options);
transfer_leadership(Client, To, Options) ->
    call(Client, #{name => transfer_leadership, effect => true}, Options, fun(Call) ->
        #{leader => number(1, expect(Call, 19, exchange(Call, blob(22, fixed64(1, To)), none)))}
    end).

%% Whether these members can be stopped together. A repeated number is one field with all of them.
safe_to_stop(Client, Nodes) -> safe_to_stop(Client, Nodes, #{}).
safe_to_stop(Client, Nodes, Options) ->
    call(Client, #{name => safe_to_stop}, Options, fun(Call) ->
        Packed = [<<Node:64/little>> || Node <- Nodes],
        Advice = expect(Call, 20, exchange(Call, blob(24, blob(1, Packed)), none)),
        #{safe => number(1, Advice) =/= 0, reason => bytes(2, Advice)}
    end).

%% Number, kind, whether it is retryable.
kinds() ->
    [{1, invalid_argument, false}, {2, not_found, false}, {3, already_exists, false}, {4, cas_mismatch, false},
     {5, deadline_exceeded, true}, {6, unavailable, true}, {7, not_leader, true}, {8, connection_lost, true},
     {9, too_large, false}, {10, session_expired, true}, {11, unauthenticated, false},
     {12, permission_denied, false}, {13, resource_exhausted, true}, {14, compacted, false},
     {15, cancelled, false}, {16, closed, false}, {17, unsupported, false}, {18, internal, false},
     {19, forked, false}, {20, forgotten, false}, {21, failed_precondition, false},
     {22, guard_failed, false}, {23, history_changed, false}].

%% ------------------------------------------------------------------------------ calls: attempts, sessions, retries

call(#{timeout := Usual} = Client, Fields, Options, Work) ->
    Timeout = try checked(maps:get(timeout, Options, Usual)) catch throw:{failed, Fault} -> Fault end,
    call(Client, Fields, Options, Work, Timeout).

call(_, _, _, _, #{kind := _} = Fault) ->
    {error, Fault};
call(#{pid := Pid} = Client, Fields, Options, Work, Timeout) ->
    %% Messages to this call are sent to its alias, so none is left in the mailbox after it.
    Alias = monitor(process, Pid, [{alias, explicit_unalias}]),
    %% The mutable state of a call: of the attempts under the current (session, seq), whether one is in flight (open),
    %% and whether an earlier one may still be applied (doubt); and the failure of the latest attempt.
    put(gometa_attempts, {false, false}),
    erase(gometa_last_failure),
    Begun = now_ms(),
    Call = Fields#{client => Client, alias => Alias, timeout => Timeout, begun => Begun, deadline => Begun + Timeout,
                   cancel => maps:get(cancel, Options, make_ref())},
    try
        maps:get(key, Call, <<"-">>) =:= <<>> andalso
            fail(Call, invalid_argument, "the key is empty; keys have at least 1 byte"),
        {ok, Work(Call)}
    catch
        throw:{failed, Error} -> {error, Error}
    after
        unalias(Alias),
        demonitor(Alias, [flush]),
        flush(Alias),
        erase(gometa_attempts),
        erase(gometa_last_failure)
    end.

flush(Alias) ->
    receive
        {Alias, _} -> flush(Alias)
    after 0 -> ok
    end.

%% Makes a write that is applied at most once, with any number of attempts. Its result is field Expected of Response.
write(Client, Name, Key, Value, Operation, Expected, Options) ->
    Fields = #{name => Name, key => Key, value => Value, effect => true},
    call(Client, Fields, Options, fun(Call) ->
        Result = expect(Call, Expected, once(Call, [Operation | guard(Options)], element(1, ?BACKOFF))),
        case Expected of
            12 -> written(Result);
            13 -> deleted(Result)
        end
    end).

%% A field of the request, beside the operation.
guard(Options) ->
    [blob(4, [blob(1, Key), uint(2, Revision)])
     || #{guard := #{key := Key, create_revision := Revision}} <- [Options]].

once(#{client := #{pid := Pid}, alias := Alias} = Call, Operation, Pause) ->
    %% Assigned by the client once there is a session and room in its window; the same for all attempts.
    Pid ! {ticket, Alias, self()},
    {ticket, {Session, _} = Ticket} = wait(Call, "no session, or too many writes of this client in flight: no room"),
    Result =
        try
            exchange(Call, Operation, Ticket)
        catch
            throw:{failed, #{kind := session_expired}} = Failed ->
                Pid ! {expired, Session},
                throw(Failed)
        after
            Pid ! {release, Ticket}
        end,
    case Result of
        new_session ->
            Pid ! {expired, Session},
            put(gometa_attempts, {false, false}),
            pause(Call, jitter(Pause)),
            once(Call, Operation, min(Pause * 2, element(2, ?BACKOFF)));
        _ -> Result
    end.

%% Sends a request until it succeeds or fails permanently. Returns its Response, or new_session for a write whose
%% session has ended before it was applied. A ticket, {Session, Seq}, makes it a write of that session.
exchange(Call, Operation, Ticket) ->
    exchange(Call, Operation, Ticket, element(1, ?BACKOFF)).

exchange(#{client := #{pid := Pid, seen := Seen}} = Call, Operation, Ticket, Pause) ->
    #{connection := Connection, address := Address, limits := Limits} = Node = connected(Call, Ticket),
    Sizes = [{"key", byte_size(maps:get(key, Call, <<>>)), maps:get(key_max, Limits)},
             {"value", byte_size(maps:get(value, Call, <<>>)), maps:get(value_max, Limits)},
             %% A longer frame would close the connection.
             {"request", iolist_size(Operation), maps:get(frame_max, Limits) - ?ENVELOPE_MAX}],
    [check_size(Call, What, Size, Max) || {What, Size, Max} <- Sizes],
    {Open, Doubt} = get(gometa_attempts),
    put(gometa_attempts, {maps:get(effect, Call, false), Doubt orelse Open}),
    case attempt(Call, Connection, Address, Operation, maps:get(context, Node)) of
        {ok, Response} ->
            Made = [number(1, message(Field, Response)) || Field <- [12, 13, 22]],
            note(Seen, lists:max([number(2, Response) | Made])),
            Response;
        {error, #{kind := Kind, message := Message, outcome := Outcome} = Error} ->
            {WasOpen, WasDoubt} = get(gometa_attempts),
            put(gometa_attempts, {false, WasDoubt orelse (WasOpen andalso Outcome =:= unknown)}),
            put(gometa_last_failure, [Address, ": ", Message]),
            case judge(Call, Kind, Ticket) of
                recorded -> throw({failed, Error#{outcome := not_applied}});
                fail -> throw({failed, Error#{outcome := outcome(Call)}});
                new_session -> new_session;
                forgotten ->
                    put(gometa_attempts, {false, true}),
                    fail(Call, internal, Message);
                Again ->
                    Again =:= leave andalso (Pid ! {leave, Connection, Error}),
                    Asked = maps:get(retry_after, Error, 0),
                    %% Without back-off after a lost connection: the client paces its dials.
                    Kind =/= connection_lost andalso pause(Call, max(jitter(Pause), Asked)),
                    exchange(Call, Operation, Ticket, min(Pause * 2, element(2, ?BACKOFF)))
            end
    end.

%% The reaction to a failed attempt.
judge(_, Kind, _) when Kind =:= not_leader; Kind =:= unavailable; Kind =:= connection_lost -> leave;
judge(_, Kind, _) when Kind =:= resource_exhausted; Kind =:= deadline_exceeded -> stay;
%% Recorded under this number when the write was applied, so it holds for all attempts.
judge(_, Kind, _) when Kind =:= already_exists; Kind =:= cas_mismatch; Kind =:= guard_failed -> recorded;
judge(_, forgotten, _) -> forgotten;
judge(Call, session_expired, Ticket) when Ticket =/= none ->
    case outcome(Call) of
        not_applied -> new_session;
        unknown -> fail
    end;
judge(_, _, _) -> fail.

%% Sends a request once.
attempt(#{alias := Alias, deadline := Deadline} = Call, Connection, Address, Operation, Context) ->
    Monitor = monitor(process, Connection),
    Begun = now_ms(),
    Left = max(Deadline - Begun, 1),
    Connection ! {ask, Alias, Monitor, [uint(2, Left), Context, Operation]},
    try wait(Call#{connection => Monitor}, ["no answer from ", Address]) of
        {answer, Monitor, Response} ->
            case has(10, Response) andalso wire_error(message(10, Response)) of
                false -> {ok, Response};
                #{kind := Kind} = Error ->
                    %% The node gave up waiting: no evidence that it works.
                    Kind =:= deadline_exceeded andalso (Connection ! {timed_out, Begun}),
                    {error, Error}
            end;
        {lost, noproc} ->
            {error, failure(connection_lost, "the connection had ended before", not_applied)};
        {lost, Reason} ->
            {error, failure(connection_lost, reason(Reason), unknown)}
    catch
        throw:{failed, _} = Failed ->
            %% The deadline has passed, or the call was cancelled.
            Connection ! {timed_out, Begun},
            throw(Failed)
    after
        demonitor(Monitor, [flush]),
        Connection ! {forget, Monitor}
    end.

%% Waits for a connection, and the context of a write.
connected(#{client := #{pid := Pid}, alias := Alias} = Call, Ticket) ->
    Pid ! {connection, Alias, Ticket},
    wait(Call, "no connection to any node").

%% Returns the next message to this call.
wait(Call, Doing) ->
    case news(Call, maps:get(deadline, Call)) of
        timeout -> late(Call, Doing);
        News -> News
    end.

%% Sleeps. Messages to earlier attempts are dropped.
pause(Call, Duration) ->
    Until = now_ms() + Duration,
    case news(Call, Until) of
        timeout ->
            %% The deadline may be earlier.
            now_ms() < Until andalso wait(Call, "no success");
        _ -> pause(Call, max(Until - now_ms(), 0))
    end.

news(#{alias := Alias, cancel := Cancel, deadline := Deadline} = Call, Until) ->
    Connection = maps:get(connection, Call, none),
    receive
        {Alias, {failed, Kind, Message}} -> fail(Call, Kind, Message);
        {Alias, {answer, Other, _}} when Other =/= Connection -> news(Call, Until);
        {Alias, News} -> News;
        {'DOWN', Alias, process, _, _} -> fail(Call, closed, "the client is closed");
        {'DOWN', Connection, process, _, Reason} -> {lost, Reason};
        {cancel, Cancel} -> fail(Call, cancelled, "cancelled by the caller")
    after max(min(Until, Deadline) - now_ms(), 0) -> timeout
    end.

%% The deadline has passed. Without any connection since the call began nothing has been sent: not applied.
late(#{client := #{pid := Pid}, alias := Alias, begun := Begun, timeout := Timeout} = Call, Doing) ->
    Pid ! {late, Alias, Begun},
    {Connected, Errors} = late_answer(Alias),
    {Kind, What} = case Connected of
        true -> {deadline_exceeded, Doing};
        false -> {unavailable, "no connection to any node"}
    end,
    Before = case get(gometa_last_failure) of
        undefined -> lists:join("; ", Errors);
        Failure -> Failure
    end,
    fail(Call, Kind, [What, io_lib:format(" within ~b ms", [Timeout]), [["; before: ", Before] || Before =/= []]]).

late_answer(Alias) ->
    receive
        {Alias, {late, Connected, Errors}} -> {Connected, Errors}
    after ?TICK -> {true, []}
    end.

check_size(Call, What, Size, Max) ->
    Size =< Max orelse
        fail(Call, too_large, io_lib:format("a ~s of ~b bytes exceeds the limit of ~b bytes", [What, Size, Max])).

note(Seen, Revision) ->
    case atomics:get(Seen, 1) of
        Known when Known >= Revision -> ok;
        Known ->
            case atomics:compare_exchange(Seen, 1, Known, Revision) of
                ok -> ok;
                _ -> note(Seen, Revision)
            end
    end.

expect(Call, Field, Response) ->
    has(Field, Response) orelse begin
        put(gometa_attempts, {false, true}),
        fail(Call, internal, "the response is of another operation")
    end,
    message(Field, Response).

%% ------------------------------------------------------------------------------------------------------- errors

outcome(#{effect := true}) ->
    case get(gometa_attempts) of
        {false, false} -> not_applied;
        _ -> unknown
    end;
outcome(_) ->
    not_applied.

fail(#{name := Name} = Call, Kind, Message) ->
    throw({failed, failure(Kind, [atom_to_list(Name), ": ", Message], outcome(Call))}).

failure(Kind, Message, Outcome) ->
    {Number, Kind, Retryable} = lists:keyfind(Kind, 2, kinds()),
    #{kind => Kind, number => Number, retryable => Retryable, outcome => Outcome,
      message => unicode:characters_to_binary(Message)}.

%% Decodes an Error. A kind that is not in the table is of a newer node.
wire_error(Error) ->
    {_, Kind, _} = case lists:keyfind(number(1, Error), 1, kinds()) of
        false -> {18, internal, false};
        Found -> Found
    end,
    Outcome = case number(3, Error) of 1 -> not_applied; _ -> unknown end,
    Text = case bytes(2, Error) of <<>> -> atom_to_list(Kind); Given -> Given end,
    Plain = (failure(Kind, Text, Outcome))#{leader => bytes(5, Error), retry_after => number(6, Error)},
    case lists:member(Kind, [already_exists, cas_mismatch, guard_failed, compacted]) orelse has(4, Error) of
        true -> Plain#{actual_revision => number(4, Error)};
        false -> Plain
    end.

reason({failed, #{message := Message}}) -> Message;
reason(Other) -> io_lib:format("~0p", [Other]).

%% --------------------------------------------------------------------------------------------------- the client
%%
%% One process, which never blocks: what it waits for is in its state.

client_start(Owner, Seeds, Seen, Options) ->
    process_flag(trap_exit, true),
    erlang:send_after(?TICK, self(), tick),
    client(#{
        owner => Owner, seeds => Seeds, seen => Seen, name => maps:get(name, Options, "gometa-raw-erl"),
        connect_timeout => maps:get(connect_timeout, Options, 2000),
        %% The connection in use; all connections by process; addresses being dialed by process.
        current => none, lost => none, connections => #{}, dialing => #{}, next_dial => now_ms(), tries => 0,
        ensemble => <<>>, leader => [], members => [], health => #{},
        %% Requests of calls for a connection and for a ticket, oldest last.
        waiting => [], tickets => queue:new(),
        %% The session: none, {opening, Pid}, or a map. The monitors of callers by ticket.
        session => none, nonce => none, holders => #{}
    }).

client(State) ->
    client(dial_if_needed(serve(handle(receive News -> News end, State)))).

handle({stop, From, Tag}, State) ->
    Closer = close_session(State),
    %% The caller of stop/1 waits for that process.
    Closer =/= none andalso (From ! {Tag, Closer}),
    client_end(State, Closer);
handle({'EXIT', Owner, _}, #{owner := Owner} = State) ->
    client_end(State, close_session(State));
handle(tick, #{connections := Connections, current := Current, session := Session} = State) ->
    erlang:send_after(?TICK, self(), tick),
    Number = case Session of #{number := Known} -> Known; _ -> 0 end,
    [Pid ! {tick, Number, Pid =:= Current} || Pid <- maps:keys(Connections)],
    State;
handle({connection, Alias, Ticket}, #{waiting := Waiting} = State) ->
    State#{waiting := [{Alias, Ticket} | Waiting]};
handle({late, Alias, Begun}, #{health := Health, current := Current, lost := Lost} = State) ->
    %% The errors since then, and those of addresses that were not dialed because of their back-off.
    Errors = [[Address, ": ", Message] || {Address, #{error := #{message := Message}} = Known} <- maps:to_list(Health),
                                              max(maps:get(failed, Known), maps:get(retry_at, Known)) >= Begun],
    Alias ! {Alias, {late, Current =/= none orelse (is_integer(Lost) andalso Lost >= Begun), Errors}},
    State;
%% Writes and their sequence numbers.
handle({ticket, Alias, Pid}, #{tickets := Tickets} = State) ->
    State#{tickets := queue:in({Alias, Pid}, Tickets)};
handle({release, Ticket}, #{holders := Holders} = State) ->
    {Monitor, Left} = maps:take(Ticket, Holders),
    demonitor(Monitor, [flush]),
    released(Ticket, State#{holders := Left});
handle({'DOWN', Monitor, process, _, _}, #{holders := Holders} = State) ->
    %% The caller was killed.
    case [Ticket || {Ticket, Holder} <- maps:to_list(Holders), Holder =:= Monitor] of
        [Ticket] -> released(Ticket, State#{holders := maps:remove(Ticket, Holders)});
        [] -> State
    end;
handle({opened, Number}, State) ->
    State#{session := #{number => Number, next => 1, in_flight => gb_sets:new()}, nonce := none};
handle({not_opened, #{kind := Kind, message := Message}}, #{tickets := Tickets} = State) ->
    %% Waiting calls have deadlines of their own.
    Lasting = Kind =/= deadline_exceeded andalso Kind =/= unavailable,
    [Alias ! {Alias, {failed, Kind, Message}} || Lasting, {Alias, _} <- queue:to_list(Tickets)],
    State#{session := none, tickets := case Lasting of true -> queue:new(); false -> Tickets end};
handle({expired, Number}, #{session := #{number := Number}} = State) ->
    State#{session := none};
handle({expired, _}, State) ->
    State;
%% Connections.
handle({welcomed, Pid, Welcome}, State) ->
    welcomed(Pid, Welcome, State);
handle({view, Pid, View}, #{connections := Connections, current := Current} = State) ->
    Next = State#{connections := maps:update_with(Pid, fun(Known) -> Known#{view := View} end, Connections)},
    case Pid of
        Current -> adopt(View, Next);
        _ -> Next
    end;
handle({leave, Pid, #{leader := Leader} = Error}, #{current := Pid, connections := Connections} = State) ->
    #{Pid := #{address := Address}} = Connections,
    Held = penalise(Address, Error, State),
    Named = case binary_to_list(Leader) of
        [] -> Held;
        Address -> Held;
        Other -> Held#{leader := Other}
    end,
    %% If there is no other node to dial, the connection is kept.
    case [Free || Free <- candidates(Named), Free =/= Address, rested(Free, Named)] of
        [] -> Named;
        _ -> Named#{current := none, lost := now_ms()}
    end;
handle({leave, _, _}, State) ->
    State;
handle({'EXIT', Pid, _}, #{session := {opening, Pid}} = State) ->
    State#{session := none};
handle({'EXIT', Pid, Reason}, #{connections := Connections, dialing := Dialing, current := Current} = State) ->
    Error = case Reason of
        {failed, Known} -> Known;
        _ -> failure(unavailable, reason(Reason), not_applied)
    end,
    case {Connections, Dialing} of
        {#{Pid := #{address := Address}}, _} ->
            Left = State#{connections := maps:remove(Pid, Connections)},
            case Pid of
                Current -> penalise(Address, Error, Left#{current := none, lost := now_ms()});
                _ -> Left
            end;
        {_, #{Pid := Address}} ->
            dial_failed(Address, Error, penalise(Address, Error, State#{dialing := maps:remove(Pid, Dialing),
                                                               next_dial := now_ms()}));
        _ -> State
    end;
handle(_, State) ->
    State.

client_end(#{owner := Owner, connections := Connections, dialing := Dialing, current := Current}, Closer) ->
    unlink(Owner),
    %% The connection in use is closed after the session.
    Ended = [Pid || Pid <- maps:keys(Connections) ++ maps:keys(Dialing), Closer =:= none orelse Pid =/= Current],
    [exit(Pid, shutdown) || Pid <- Ended],
    exit(normal).

%% Starts a process that ends the session, best effort: otherwise the session ends by its timeout.
close_session(#{session := #{number := Number}, current := Current}) when Current =/= none ->
    unlink(Current),
    spawn(fun() ->
        Monitor = monitor(process, Current),
        Current ! {ask, self(), Monitor, [uint(2, 5000), blob(17, fixed64(1, Number))]},
        receive
            {_, {answer, Monitor, _}} -> ok;
            {'DOWN', Monitor, process, Current, _} -> ok
        after ?CLOSE_TIMEOUT -> ok
        end,
        exit(Current, shutdown)
    end);
close_session(_) ->
    none.

%% Serves waiting calls.
serve(State) ->
    serve_tickets(open_session(serve_connections(State))).

serve_connections(#{current := none} = State) ->
    State;
serve_connections(#{current := Current, connections := Connections, waiting := Waiting} = State) ->
    #{Current := Known} = Connections,
    [Alias ! {Alias, Known#{connection => Current, context => context(Ticket, State)}}
     || {Alias, Ticket} <- lists:reverse(Waiting)],
    State#{waiting := []}.

%% The WriteContext of a write.
context(none, _) ->
    [];
context({Number, Seq}, #{session := Session}) ->
    Lowest = case Session of
        #{number := Number, in_flight := InFlight} -> gb_sets:smallest(InFlight);
        %% The session has ended.
        _ -> Seq
    end,
    blob(3, [fixed64(1, Number), uint(2, Seq), uint(3, Lowest)]).

%% Opens a session, in a process of its own, when a write waits for it.
open_session(#{session := none, tickets := Tickets, seen := Seen, nonce := Known} = State) ->
    case queue:is_empty(Tickets) of
        true -> State;
        false ->
            %% Kept until the session is open, so that a retry opens no second session.
            Nonce = case Known of none -> random(16); _ -> Known end,
            Client = #{pid => self(), seen => Seen, timeout => 5000},
            Pid = spawn_link(fun() ->
                Opened = call(Client, #{name => open_session}, #{}, fun(Call) ->
                    number(1, expect(Call, 11, exchange(Call, blob(10, blob(1, Nonce)), none)))
                end),
                maps:get(pid, Client) ! case Opened of
                    {ok, Number} -> {opened, Number};
                    {error, Error} -> {not_opened, Error}
                end
            end),
            State#{session := {opening, Pid}, nonce := Nonce}
    end;
open_session(State) ->
    State.

serve_tickets(#{session := #{number := Number, next := Next, in_flight := InFlight} = Session, tickets := Tickets,
                holders := Holders, window_max := Window} = State) ->
    Lowest = case gb_sets:is_empty(InFlight) of true -> Next; false -> gb_sets:smallest(InFlight) end,
    case queue:out(Tickets) of
        {{value, {Alias, Pid}}, Left} when Next - Lowest < Window ->
            Alias ! {Alias, {ticket, {Number, Next}}},
            serve_tickets(State#{
                session := Session#{next := Next + 1, in_flight := gb_sets:add(Next, InFlight)},
                holders := Holders#{{Number, Next} => monitor(process, Pid)},
                tickets := Left
            });
        _ -> State
    end;
serve_tickets(State) ->
    State.

%% A call that has been given up may still be waiting for a connection; its sequence number is not in flight any more.
released(Ticket, #{waiting := Waiting} = State) ->
    no_longer_in_flight(Ticket, State#{waiting := [Call || {_, Held} = Call <- Waiting, Held =/= Ticket]}).

no_longer_in_flight({Number, Seq}, #{session := #{number := Number, in_flight := InFlight} = Session} = State) ->
    State#{session := Session#{in_flight := gb_sets:delete_any(Seq, InFlight)}};
no_longer_in_flight(_, State) ->
    State.

%% Choice of the node.

dial_if_needed(#{current := none, waiting := [_ | _], next_dial := Next, dialing := Dialing} = State) ->
    case now_ms() >= Next andalso map_size(Dialing) < ?DIALS_MAX of
        true -> dial_first(candidates(State), State);
        false -> State
    end;
dial_if_needed(#{current := Current, leader := [_ | _] = Leader, connections := Connections} = State)
        when Current =/= none ->
    case Connections of
        #{Current := #{address := Leader}} -> State;
        #{Current := #{view := #{role := leading}}} -> State;
        %% Meanwhile the connected node forwards calls.
        _ -> dial_first([Leader], State)
    end;
dial_if_needed(State) ->
    State.

dial_first(Addresses, #{dialing := Dialing, health := Health, tries := Tries} = State) ->
    Free = [Address || Address <- Addresses, not lists:member(Address, maps:values(Dialing)), rested(Address, State)],
    case Free of
        [] -> State;
        [Address | _] ->
            #{name := Name, ensemble := Ensemble, connect_timeout := Timeout} = State,
            Hello = [uint(1, 1), uint(2, 1), blob(3, string:slice(Name, 0, 16)), blob(4, "1"),
                     [blob(5, Ensemble) || Ensemble =/= <<>>]],
            Client = self(),
            Pid = spawn_link(fun() -> connection_start(Client, Address, Ensemble, Hello, Timeout) end),
            Known = health(Address, State),
            State#{dialing := Dialing#{Pid => Address}, next_dial := now_ms() + ?STAGGER, tries := Tries + 1,
                   health := Health#{Address => Known#{tried := Tries + 1}}}
    end.

%% The addresses to dial: the leader, then known members and the given peers, least recently dialed first.
candidates(#{leader := Leader, members := Members, seeds := Seeds} = State) ->
    Known = lists:sort([{maps:get(tried, health(Address, State)), Address} || Address <- Members ++ Seeds]),
    lists:uniq([Leader || Leader =/= []] ++ [Address || {_, Address} <- Known]).

health(Address, #{health := Health}) ->
    maps:get(Address, Health, #{failures => 0, retry_at => now_ms(), tried => 0, error => none, failed => 0}).

rested(Address, State) ->
    maps:get(retry_at, health(Address, State)) =< now_ms().

penalise(Address, Error, #{health := Health, leader := Leader} = State) ->
    #{failures := Failures} = Known = health(Address, State),
    {From, To} = ?DIAL_BACKOFF,
    Backoff = jitter(min(From bsl Failures, To)),
    Until = now_ms() + max(Backoff, maps:get(backoff, Error, 0)),
    Held = Known#{failures := min(Failures + 1, 8), retry_at := Until, error := Error, failed := now_ms()},
    State#{health := Health#{Address => Held}, leader := case Leader of Address -> []; _ -> Leader end}.

welcomed(Pid, #{view := View, ensemble := Ensemble} = Known, #{connections := Connections} = State) ->
    #{dialing := Dialing, current := Current, health := Health, ensemble := Before} = State,
    #{address := Address, limits := #{window_max := Window}} = Known,
    Next = State#{connections := Connections#{Pid => Known}, dialing := maps:remove(Pid, Dialing),
                  next_dial := now_ms(), window_max => Window},
    Leads = fun(#{view := #{role := Role}}) -> Role =:= leading end,
    Old = health(Address, State),
    case Current =:= none orelse (Leads(Known) andalso not Leads(maps:get(Current, Connections))) of
        true ->
            adopt(View, Next#{current := Pid, health := Health#{Address => Old#{failures := 0, error := none}},
                              ensemble := case Before of <<>> -> Ensemble; _ -> Before end});
        false ->
            %% It is closed by the next tick. If it should be the leader, it is dialed again later.
            Next#{health := Health#{Address => Old#{retry_at := now_ms() + element(2, ?DIAL_BACKOFF)}}}
    end.

adopt(#{leader := Leader, members := Members}, #{members := Before} = State) ->
    Known = [binary_to_list(Address) || #{request_address := Address} <- Members, Address =/= <<>>],
    State#{leader := binary_to_list(Leader), members := case Known of [] -> Before; _ -> Known end}.

dial_failed(Address, #{kind := Kind, message := Message}, #{waiting := Waiting, current := none} = State) ->
    Lasting = [invalid_argument, unauthenticated, permission_denied, unsupported, history_changed],
    Errors = [maps:get(error, health(Known, State)) || Known <- candidates(State)],
    case lists:member(Kind, Lasting) andalso not lists:member(none, Errors) of
        true ->
            %% All addresses have failed, and retrying does not help.
            [Alias ! {Alias, {failed, Kind, [Address, ": ", Message]}} || {Alias, _} <- Waiting],
            State#{waiting := []};
        false -> State
    end;
dial_failed(_, _, State) ->
    State.

%% Parses "host:port,host:port", or a list of these.
addresses([First | _] = Peers) when is_list(First); is_binary(First) ->
    addresses(lists:join(",", Peers));
addresses(Peers) ->
    Listed = [string:trim(Address) || Address <- string:split(unicode:characters_to_list(Peers), ",", all)],
    case lists:uniq([Address || Address <- Listed, Address =/= ""]) of
        [] -> throw({failed, failure(invalid_argument, "no peers: name at least one request address", not_applied)});
        Found ->
            [split(Address) =/= error orelse
                throw({failed, failure(invalid_argument, ["peer ", Address, ": write host:port"], not_applied)})
             || Address <- Found],
            Found
    end.

split(Address) ->
    case string:split(Address, ":", trailing) of
        [[_ | _] = Host, Port] ->
            Bracketed = hd(Host) =:= $[ andalso lists:last(Host) =:= $],
            Fault = [C || C <- Host, lists:member(C, "/@?# \t\n")] =/= []
                orelse (lists:member($:, Host) andalso not Bracketed),
            case string:to_integer(Port) of
                {Number, ""} when Number > 0, Number < 65536, not Fault -> {string:trim(Host, both, "[]"), Number};
                _ -> error
            end;
        _ -> error
    end.

%% ---------------------------------------------------------------------------------------------- one connection

connection_start(Client, Address, Ensemble, Hello, Timeout) ->
    {Host, Port} = split(Address),
    {Target, Family} = case inet:parse_address(Host) of
        {ok, IP} when tuple_size(IP) =:= 8 -> {IP, [inet6]};
        _ -> {Host, []}
    end,
    Options = Family ++ [binary, {packet, 4}, {packet_size, ?WELCOME_MAX}, {active, false}, {nodelay, true},
                         {send_timeout, ?KEEPALIVE_TIMEOUT}, {send_timeout_close, true}],
    Deadline = now_ms() + Timeout,
    Socket = must(gen_tcp:connect(Target, Port, Options, Timeout)),
    must(gen_tcp:send(Socket, blob(1, Hello))),
    First = must(gen_tcp:recv(Socket, 0, max(Deadline - now_ms(), 0))),
    Answer = parsed(fun() -> {fields(First), message(1, fields(First))} end),
    Limits = case Answer of
        {Frame, Welcome} ->
            case {has(5, Frame), number(1, Welcome)} of
                {true, _} ->
                    #{message := Message} = Error = wire_error(message(5, Frame)),
                    exit({failed, Error#{message := iolist_to_binary(["refused: ", Message])}});
                {false, 1} -> limits(message(5, Welcome));
                _ -> foreign("its first frame is no welcome")
            end
    end,
    ok = inet:setopts(Socket, [{packet_size, maps:get(frame_max, Limits)}, {active, once}]),
    {_, Said} = Answer,
    %% Such a node may join a later history of the ensemble on this connection, without the client's knowledge.
    Ensemble =/= <<>> andalso bytes(2, Said) =:= <<>> andalso end_with("the node belongs to no ensemble yet"),
    Client ! {welcomed, self(), #{address => Address, limits => Limits, view => to_view(message(6, Said)),
                                  ensemble => bytes(2, Said)}},
    connection(#{client => Client, socket => Socket, limits => Limits,
                 %% {Alias, Tag} of calls by request id; ids by tag; requests that wait for a free slot.
                 pending => #{}, ids => #{}, queue => queue:new(), last => 0,
                 %% The times of the oldest pending request, of the last frame received, of the last Ping, and of a Ping
                 %% without an answer.
                 pending_since => none, received => now_ms(), pinged => now_ms(), ping_sent => none}).

must(ok) -> ok;
must({ok, Result}) -> Result;
must({error, emsgsize}) -> foreign("its first frame is too long");
must({error, timeout}) -> end_with("no welcome in time");
must({error, closed}) -> end_with("closed the connection before its welcome");
must({error, Reason}) -> end_with(inet:format_error(Reason)).

foreign(What) -> end_with(["does not speak gometa's client protocol: ", What]).

end_with(Message) -> exit({failed, failure(unavailable, Message, not_applied)}).

parsed(Parse) ->
    try Parse() catch error:_ -> foreign("malformed message") end.

%% Limits that are missing in the Welcome have their defaults.
limits(Limits) ->
    maps:from_list([{Name, case number(Field, Limits) of 0 -> Usual; Said -> Said end}
                    || {Name, Field, Usual} <- [{key_max, 1, 4096}, {value_max, 2, 1048576}, {frame_max, 3, 1114112},
                                                {requests_max, 4, 1024}, {window_max, 5, 1024},
                                                {session_timeout, 6, 60000}]]).

connection(State) ->
    connection(converse(receive News -> News end, State)).

converse({tcp, Socket, Data}, #{socket := Socket} = State) ->
    Next = parsed(fun() ->
        case fields(Data) of
            %% A Ping is sent by the node's port, and does not prove that the node works.
            [{4, _}] = Ping -> take(Ping, State);
            Frame -> take(Frame, State#{received := now_ms(), ping_sent := none})
        end
    end),
    ok =:= inet:setopts(Socket, [{active, once}]) orelse end_with("the connection has ended"),
    Next;
converse({tcp_closed, _}, _) ->
    end_with("the node closed the connection");
converse({tcp_error, _, Reason}, _) ->
    end_with(inet:format_error(Reason));
converse({ask, Alias, Tag, Request}, #{queue := Queue} = State) ->
    ask_queued(State#{queue := queue:in({Alias, Tag, Request}, Queue)});
converse({forget, Tag}, #{ids := Ids, pending := Pending, queue := Queue} = State) ->
    case maps:take(Tag, Ids) of
        {Id, Left} ->
            send(blob(3, uint(1, Id)), State),
            ask_queued(State#{ids := Left, pending := maps:remove(Id, Pending)});
        error ->
            Others = fun({_, Other, _}) -> Other =/= Tag end,
            State#{queue := case queue:is_empty(Queue) of true -> Queue; false -> queue:filter(Others, Queue) end}
    end;
converse({timed_out, Begun}, #{client := Client, pending_since := Since} = State) ->
    %% An atom, here none, is larger than every number.
    Pending = now_ms() - min(Begun, Since),
    Message = io_lib:format("no answer for ~b ms", [Pending]),
    Error = (failure(unavailable, Message, not_applied))#{leader => <<>>, backoff => element(2, ?DIAL_BACKOFF)},
    Pending >= ?KEEPALIVE_INTERVAL andalso (Client ! {leave, self(), Error}),
    State;
converse({tick, Session, InUse}, State) ->
    tick(Session, InUse, now_ms(), State);
converse(_, State) ->
    State.

%% Sends as many requests as the node allows in flight.
ask_queued(#{pending := Pending, ids := Ids, queue := Queue, last := Last, limits := Limits,
             pending_since := Since} = State) ->
    case map_size(Pending) < maps:get(requests_max, Limits) andalso queue:out(Queue) of
        {{value, {Alias, Tag, Request}}, Left} ->
            %% Not reused, so that the late response to a cancelled request is not taken for another's.
            Id = Last + 1,
            send(blob(2, [uint(1, Id), Request]), State),
            ask_queued(State#{pending := Pending#{Id => {Alias, Tag}}, ids := Ids#{Tag => Id}, queue := Left,
                             last := Id, pending_since := min(Since, now_ms())});
        _ -> State
    end.

take(Frame, #{pending := Pending, ids := Ids, client := Client} = State) ->
    case Frame of
        [{2, Response}] ->
            Fields = fields(Response),
            case maps:take(number(1, Fields), Pending) of
                {{Alias, Tag}, Left} ->
                    Alias ! {Alias, {answer, Tag, Fields}},
                    ask_queued(settled(State#{pending := Left, ids := maps:remove(Tag, Ids)}));
                %% The response to a cancelled request.
                error -> settled(State)
            end;
        [{4, Ping}] ->
            send(blob(5, uint(1, number(1, fields(Ping)))), State),
            State;
        [{5, Error}] ->
            end_with(["the node ended the connection: ", maps:get(message, wire_error(fields(Error)))]);
        [{6, View}] ->
            Client ! {view, self(), to_view(fields(View))},
            State;
        %% A Pong, or an unknown message of a newer node.
        _ when map_size(Pending) =:= 0 -> State#{pending_since := none};
        _ -> State
    end.

settled(#{pending := Pending} = State) ->
    State#{pending_since := case map_size(Pending) of 0 -> none; _ -> now_ms() end}.

tick(_, _, Now, #{ping_sent := Since, received := Received} = State) when is_integer(Since) ->
    Now - Since >= ?KEEPALIVE_TIMEOUT andalso
        end_with(io_lib:format("nothing received for ~b ms", [Now - Received])),
    State;
tick(_, false, _, #{pending := Pending}) when map_size(Pending) =:= 0 ->
    %% Another connection is in use.
    exit(shutdown);
tick(Session, _, Now, #{pending_since := Since, received := Received, pinged := Pinged, limits := Limits} = State) ->
    Quiet = Since =/= none andalso Now - max(Since, Received) >= ?KEEPALIVE_INTERVAL,
    Idle = Now - Pinged >= min(?IDLE_MAX, maps:get(session_timeout, Limits) div 3),
    case Quiet orelse Idle of
        true ->
            %% The Ping also keeps the session alive.
            send(blob(4, [uint(1, 1), fixed64(2, Session)]), State),
            State#{pinged := Now, ping_sent := Now};
        false -> State
    end.

send(Frame, #{socket := Socket}) ->
    case gen_tcp:send(Socket, Frame) of
        ok -> ok;
        {error, Reason} -> end_with(inet:format_error(Reason))
    end.

%% ---------------------------------------------------------------------------------------------------- protobuf

%% Seven bits per byte, the lowest first; all bytes but the last have the eighth bit set.
varint(Number) when Number < 128 -> <<Number>>;
varint(Number) -> <<1:1, (Number band 127):7, (varint(Number bsr 7))/binary>>.

%% A field of type uint32, uint64, bool or enum. Zero is the default, and is left out.
uint(_, 0) -> [];
uint(Field, Value) -> [varint(Field bsl 3), varint(Value)].

%% A field of type fixed64: eight bytes, little endian.
fixed64(_, 0) -> [];
fixed64(Field, Value) -> [varint(Field bsl 3 bor 1), <<Value:64/little>>].

%% A field of type bytes, string or message. Encoded also if empty: in a `oneof` its presence matters.
blob(Field, Value) -> [varint(Field bsl 3 bor 2), varint(iolist_size(Value)), Value].

%% The fields of a message in their order: numbers and binaries. Unknown fields are ignored.
fields(<<>>) ->
    [];
fields(Data) ->
    {Key, Rest} = take_varint(Data, 0, 0),
    {Value, Left} = case Key band 7 of
        0 -> take_varint(Rest, 0, 0);
        1 -> <<Fixed:64/little, Behind/binary>> = Rest, {Fixed, Behind};
        2 ->
            {Size, From} = take_varint(Rest, 0, 0),
            <<Bytes:Size/binary, Behind/binary>> = From,
            {Bytes, Behind};
        5 -> <<Fixed:32/little, Behind/binary>> = Rest, {Fixed, Behind}
    end,
    [{Key bsr 3, Value} | fields(Left)].

take_varint(<<More:1, Bits:7, Rest/binary>>, Shift, Sum) when Shift < 70 ->
    Next = Sum bor (Bits bsl Shift),
    case More of
        1 -> take_varint(Rest, Shift + 7, Next);
        0 -> {Next, Rest}
    end.

has(Field, Fields) -> lists:keymember(Field, 1, Fields).

%% The last occurrence of a field counts.
value(Field, Fields, Default) ->
    case lists:keyfind(Field, 1, lists:reverse(Fields)) of
        {_, Value} -> Value;
        false -> Default
    end.

number(Field, Fields) -> value(Field, Fields, 0).
bytes(Field, Fields) -> binary:copy(value(Field, Fields, <<>>)).
message(Field, Fields) -> fields(value(Field, Fields, <<>>)).
messages(Field, Fields) -> [fields(Message) || {Number, Message} <- Fields, Number =:= Field].

role(Number) ->
    Roles = {unknown, forming, looking, following, leading, learning},
    element(case Number < tuple_size(Roles) of true -> Number + 1; false -> 1 end, Roles).

storage(Storage) ->
    Sent = [#{sending => number(1, Snapshot) =/= 0, revision => number(2, Snapshot), total_bytes => number(3, Snapshot),
              transferred_bytes => number(4, Snapshot), bytes_per_second => number(5, Snapshot),
              receivers => number(6, Snapshot)} || Snapshot <- messages(8, Storage)],
    #{log_base => number(1, Storage), log_end => number(2, Storage), log_bytes => number(3, Storage),
      state_bytes => number(4, Storage), free_bytes => number(5, Storage), flushed_revision => number(6, Storage),
      flush_age_ms => number(7, Storage), reserve_bytes => number(9, Storage),
      snapshot => case Sent of [] -> none; [Snapshot | _] -> Snapshot end}.

member(Member) ->
    #{node => number(1, Member), message_address => bytes(2, Member), request_address => bytes(3, Member)}.

to_membership(Membership) ->
    Version = message(1, Membership),
    #{version => #{epoch => number(1, Version), revision => number(2, Version)},
      members => [#{node => number(1, Member), incarnation => bytes(2, Member), election_address => bytes(3, Member),
                    message_address => bytes(4, Member), request_address => bytes(5, Member),
                    votes => number(6, Member) =/= 0, promised => number(7, Member) =/= 0,
                    replaces => number(8, Member)}
                  || Member <- messages(2, Membership)],
      committed => number(3, Membership) =/= 0}.

to_view(View) ->
    #{role => role(number(1, View)), leader => bytes(2, View),
      members => [member(Member) || Member <- messages(3, View)]}.

%% ----------------------------------------------------------------------------------------------------- helpers

now_ms() -> erlang:monotonic_time(millisecond).

%% Between a half and the whole, so that clients do not retry in step.
jitter(Duration) -> Duration - rand:uniform(Duration div 2 + 1) + 1.

%% A nonce must be unique. crypto:strong_rand_bytes/1 is simpler, if the application crypto is available.
random(Size) ->
    {ok, File} = file:open("/dev/urandom", [read, raw, binary]),
    {ok, Bytes} = file:read(File, Size),
    ok = file:close(File),
    Bytes.
