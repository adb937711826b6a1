#!/usr/bin/env escript
%% The driver of the client `raw-erlang`; README.md beside this file describes the protocol.
%% Every call has its own process.
-mode(compile).

main(_) ->
    load(),
    ok = io:setopts([binary, {encoding, latin1}]),
    %% The calls in flight by their number: the process, and the reference that cancels the call.
    calls = ets:new(calls, [named_table, public]),
    %% The peers and the options of each client; those clients whose ensemble was founded anew.
    opened = ets:new(opened, [named_table, public]),
    outdated = ets:new(outdated, [named_table, public]),
    say([<<"client raw-erlang">>]),
    read(#{}).

read(Clients) ->
    case io:get_line("") of
        eof -> [gometa_raw:stop(Client) || Client <- maps:values(Clients)];
        Line ->
            [Number, Verb | Words] = binary:split(string:trim(Line), <<" ">>, [global]),
            Fields = maps:from_list([list_to_tuple(binary:split(Word, <<"=">>)) || Word <- Words]),
            read(take(Number, Verb, Fields, Clients))
    end.

take(Number, <<"open">>, #{<<"client">> := Client, <<"peers">> := Peers} = Fields, Clients) ->
    case gometa_raw:start_link(Peers, timeout(Fields)) of
        {ok, Opened} ->
            say([Number, <<"ok">>]),
            ets:insert(opened, {Client, Peers, timeout(Fields)}),
            Clients#{Client => Opened};
        {error, Error} ->
            answer(Number, {error, Error}),
            Clients
    end;
take(Number, <<"close">>, #{<<"client">> := Client}, Clients) ->
    gometa_raw:stop(maps:get(Client, Clients)),
    say([Number, <<"ok">>]),
    Clients;
take(Number, <<"cancel">>, #{<<"call">> := Call}, Clients) ->
    [gometa_raw:cancel(Pid, Ref) || {_, Pid, Ref} <- ets:lookup(calls, Call)],
    say([Number, <<"ok">>]),
    Clients;
take(Number, Verb, #{<<"client">> := Client} = Fields, Before) ->
    Clients = opened_again(Client, Before),
    Opened = maps:get(Client, Clients),
    Ref = make_ref(),
    Options = (maps:merge(timeout(Fields), guard(Fields)))#{cancel => Ref},
    Pid = spawn_link(fun() ->
        receive go -> ok end,
        Answer = call(Verb, Opened, Fields, Options),
        ets:delete(calls, Number),
        [ets:insert(outdated, {Client, Opened}) || {error, #{kind := history_changed}} <- [Answer]],
        answer(Number, Answer)
    end),
    ets:insert(calls, {Number, Pid, Ref}),
    Pid ! go,
    Clients.

%% Replaces a client of an earlier history, as its documentation says. Other calls in flight go on with the old one.
opened_again(Client, Clients) ->
    #{Client := Current} = Clients,
    case ets:take(outdated, Client) of
        [{Client, Current}] ->
            [{Client, Peers, Options}] = ets:lookup(opened, Client),
            {ok, Again} = gometa_raw:start_link(Peers, Options),
            Clients#{Client := Again};
        _ -> Clients
    end.

timeout(#{<<"timeout_ms">> := Timeout}) -> #{timeout => binary_to_integer(Timeout)};
timeout(_) -> #{}.

guard(#{<<"guard">> := Guard}) ->
    [Key, Revision] = binary:split(Guard, <<":">>),
    #{guard => #{key => binary:decode_hex(Key), create_revision => binary_to_integer(Revision)}};
guard(_) -> #{}.

call(<<"add">>, Client, Fields, Options) ->
    gometa_raw:add(Client, key(Fields), value(Fields), Options);
call(<<"set">>, Client, Fields, Options) ->
    gometa_raw:set(Client, key(Fields), value(Fields), Options);
call(<<"cas">>, Client, #{<<"revision">> := Revision} = Fields, Options) ->
    gometa_raw:cas(Client, key(Fields), binary_to_integer(Revision), value(Fields), Options);
call(<<"delete">>, Client, #{<<"revision">> := Revision} = Fields, Options) ->
    gometa_raw:delete(Client, key(Fields), Options#{revision => binary_to_integer(Revision)});
call(<<"delete">>, Client, Fields, Options) ->
    gometa_raw:delete(Client, key(Fields), Options);
call(<<"get">>, Client, #{<<"at_revision">> := Revision} = Fields, Options) ->
    gometa_raw:get(Client, key(Fields), Options#{at_revision => binary_to_integer(Revision)});
call(<<"get">>, Client, Fields, Options) ->
    gometa_raw:get(Client, key(Fields), reading(Fields, Options));
call(<<"range">>, Client, Fields, Options) ->
    with_values(Fields, gometa_raw:range(Client, which(Fields), reading(Fields, Options)));
call(<<"history">>, Client, Fields, Options) ->
    Numbers = [{binary_to_atom(Name), number(Name, Fields)}
               || Name <- [<<"before_revision">>, <<"limit">>], is_map_key(Name, Fields)],
    KeysOnly = maps:get(<<"keys_only">>, Fields, <<"false">>) =:= <<"true">>,
    Which = maps:from_list([{keys_only, KeysOnly} | Numbers]),
    case gometa_raw:history(Client, key(Fields), maps:merge(reading(Fields, Options), Which)) of
        {ok, Page} -> {ok, Page#{values => not KeysOnly}};
        Failed -> Failed
    end;
call(<<"scan">>, Client, Fields, Options) ->
    with_values(Fields, gometa_raw:scan(Client, which(Fields), reading(Fields, Options)));
call(<<"count">>, Client, Fields, Options) ->
    gometa_raw:count(Client, which(Fields), reading(Fields, Options));
call(<<"delete_prefix">>, Client, #{<<"prefix">> := Prefix}, Options) ->
    gometa_raw:delete_prefix(Client, binary:decode_hex(Prefix), Options);
call(<<"txn">>, Client, Fields, Options) ->
    Parts = fun(Name) -> [binary:split(Part, <<":">>, [global])
                          || Part <- binary:split(maps:get(Name, Fields, <<>>), <<",">>, [global]), Part =/= <<>>] end,
    [Then, Otherwise] = [[operation(Part) || Part <- Parts(Name)] || Name <- [<<"then">>, <<"otherwise">>]],
    Txn = #{'when' => [comparison(Part) || Part <- Parts(<<"when">>)], then => Then, otherwise => Otherwise},
    gometa_raw:txn(Client, Txn, reading(Fields, Options));
call(<<"settings">>, Client, _, Options) ->
    gometa_raw:settings(Client, Options);
call(<<"set_setting">>, Client, #{<<"setting">> := Name} = Fields, Options) ->
    Value = case Fields of #{<<"number">> := Number} -> binary_to_integer(Number); _ -> default end,
    gometa_raw:set_setting(Client, Name, Value, Options);
call(<<"status">>, Client, _, Options) ->
    gometa_raw:status(Client, Options);
call(<<"history_id">>, Client, _, Options) ->
    gometa_raw:history_id(Client, Options);
call(<<"members">>, Client, _, Options) ->
    gometa_raw:view(Client, Options);
call(<<"membership">>, Client, _, Options) ->
    gometa_raw:membership(Client, Options);
call(<<"promote_member">>, Client, Fields, Options) ->
    gometa_raw:promote_member(Client, number(<<"node">>, Fields), follows(Fields, Options));
call(<<"remove_member">>, Client, Fields, Options) ->
    gometa_raw:remove_member(Client, number(<<"node">>, Fields), follows(Fields, Options));
call(<<"replace_member">>, Client, Fields, Options) ->
    [Node, Replacement] = [number(Name, Fields) || Name <- [<<"node">>, <<"replacement">>]],
    gometa_raw:replace_member(Client, Node, Replacement, follows(Fields, Options));
call(<<"cancel_promotion">>, Client, Fields, Options) ->
    gometa_raw:cancel_promotion(Client, number(<<"node">>, Fields), follows(Fields, Options));
call(<<"transfer_leadership">>, Client, #{<<"to">> := To}, Options) ->
    gometa_raw:transfer_leadership(Client, binary_to_integer(To), Options);
call(<<"transfer_leadership">>, Client, _, Options) ->
    gometa_raw:transfer_leadership(Client, any, Options);
call(<<"safe_to_stop">>, Client, #{<<"nodes">> := Nodes}, Options) ->
    Listed = [binary_to_integer(Node) || Node <- binary:split(Nodes, <<",">>, [global]), Node =/= <<>>],
    gometa_raw:safe_to_stop(Client, Listed, Options);
call(Verb, _, _, _) when Verb =/= <<"bench">> ->
    unsupported;
call(<<"bench">>, Client, #{<<"call">> := What, <<"count">> := Count, <<"callers">> := Callers} = Fields, Options) ->
    Shares = shares(binary_to_integer(Count), binary_to_integer(Callers)),
    Begun = erlang:monotonic_time(),
    Workers = [spawn_monitor(fun() -> exit({failed, work(Share, What, Client, Fields, Options, 0)}) end)
               || Share <- Shares],
    Failed = [receive {'DOWN', Monitor, process, Pid, {failed, Some}} -> Some end || {Pid, Monitor} <- Workers],
    Took = erlang:convert_time_unit(erlang:monotonic_time() - Begun, native, microsecond),
    {ok, #{seconds => Took / 1.0e6, failed => lists:sum(Failed)}}.

reading(Fields, Options) ->
    Local = maps:get(<<"consistency">>, Fields, <<"linearizable">>) =:= <<"local">>,
    MinRevision = binary_to_integer(maps:get(<<"min_revision">>, Fields, <<"0">>)),
    Options#{local => Local, min_revision => MinRevision}.

comparison([<<"range">>, Count, Prefix, Revision]) ->
    {range, #{prefix => binary:decode_hex(Prefix)}, binary_to_integer(Count), binary_to_integer(Revision)};
comparison([Fact, Relation, Key, Operand]) ->
    Parse = case Fact of <<"value">> -> fun binary:decode_hex/1; _ -> fun binary_to_integer/1 end,
    {binary_to_atom(Fact), binary:decode_hex(Key), binary_to_atom(Relation), Parse(Operand)}.

operation([Verb, Prefix]) when Verb =:= <<"range">>; Verb =:= <<"delete_range">> ->
    {binary_to_atom(Verb), #{prefix => binary:decode_hex(Prefix)}};
operation([Verb | Arguments]) -> list_to_tuple([binary_to_atom(Verb) | [binary:decode_hex(Bytes) || Bytes <- Arguments]]).

%% The result of an operation of a transaction.
outcome(#{value := Value}) -> [<<"entry:">>, hex(Value)];
outcome(#{version := Version}) -> [<<"written:">>, integer_to_binary(Version)];
outcome(#{existed := Existed}) -> [<<"deleted:">>, atom_to_binary(Existed)];
outcome(#{count := Count, revision := _} = Deleted) when map_size(Deleted) =:= 2 ->
    [<<"deleted_range:">>, integer_to_binary(Count)];
outcome(#{entries := Entries}) -> [<<"page:">>, lists:join(<<"+">>, [hex(Key) || #{key := Key} <- Entries])];
outcome({error, #{kind := Kind}}) -> [<<"error:">>, kind(Kind)];
outcome(not_found) -> <<"absent">>.

%% A version of a key without its value.
version(#{deleted := true, revision := Revision}) -> [integer_to_binary(Revision), <<":deleted">>];
version(#{revision := Revision, version := Version, create_revision := Created, value_size := Size}) ->
    lists:join(<<":">>, [integer_to_binary(Number) || Number <- [Revision, Version, Created, Size]]).

%% The range of a line.
which(Fields) ->
    Parsers = #{<<"start">> => fun binary:decode_hex/1, <<"end">> => fun binary:decode_hex/1,
                <<"prefix">> => fun binary:decode_hex/1, <<"delimiter">> => fun binary:decode_hex/1,
                <<"at_revision">> => fun binary_to_integer/1, <<"limit">> => fun binary_to_integer/1,
                <<"reverse">> => fun(Word) -> Word =:= <<"true">> end,
                <<"keys_only">> => fun(Word) -> Word =:= <<"true">> end},
    maps:from_list([{binary_to_atom(Name), (maps:get(Name, Parsers))(Text)}
                    || {Name, Text} <- maps:to_list(maps:with(maps:keys(Parsers), Fields))]).

%% Adds whether the answer has values. A scan has no next page.
with_values(Fields, {ok, Page}) ->
    KeysOnly = maps:get(<<"keys_only">>, Fields, <<"false">>) =:= <<"true">>,
    {ok, maps:merge(#{next => none, values => not KeysOnly}, Page)};
with_values(_, Failed) -> Failed.

number(Name, Fields) -> binary_to_integer(maps:get(Name, Fields)).

follows(#{<<"follows_epoch">> := _} = Fields, Options) ->
    Version = #{epoch => number(<<"follows_epoch">>, Fields), revision => number(<<"follows_revision">>, Fields)},
    Options#{follows => Version};
follows(_, Options) -> Options.

shares(Count, Callers) ->
    [Count div Callers + case Caller =< Count rem Callers of true -> 1; false -> 0 end
     || Caller <- lists:seq(1, Callers)].

work(0, _, _, _, _, Failed) -> Failed;
work(Left, What, Client, Fields, Options, Failed) ->
    case call(What, Client, Fields, Options) of
        {ok, _} -> work(Left - 1, What, Client, Fields, Options, Failed);
        {error, _} -> work(Left - 1, What, Client, Fields, Options, Failed + 1)
    end.

answer(Number, {ok, #{existed := Existed, revision := Revision}}) ->
    say([Number, <<"ok">>, pair(existed, Existed), pair(revision, Revision)]);
answer(Number, {ok, #{create_revision := Created, mod_revision := Changed, value := Value, version := Version}}) ->
    say([Number, <<"ok">>, pair(value, binary:encode_hex(Value)), pair(version, Version),
         pair(create_revision, Created), pair(mod_revision, Changed)]);
answer(Number, {ok, #{entries := Entries, revision := Revision, next := Next, values := HasValues}}) ->
    Listed = fun(Name) -> lists:join(<<",">>, [hex(maps:get(Name, Entry)) || Entry <- Entries]) end,
    Following = [pair(next, hex(Next)) || Next =/= none],
    Values = [[<<"values=">>, Listed(value)] || HasValues],
    Groups = length([Entry || #{is_group := true} = Entry <- Entries]),
    say([Number, <<"ok">>, pair(revision, Revision)] ++ Following ++ [[<<"keys=">>, Listed(key)]] ++ Values
        ++ [pair(groups, Groups)]);
answer(Number, {ok, #{versions := Versions, next_before := Next, values := HasValues} = Page}) ->
    #{revision := Revision, oldest_revision := Oldest} = Page,
    Following = [pair(next_before, Next) || Next =/= none],
    Values = [[<<"values=">>, lists:join(<<",">>, [hex(maps:get(value, Version, <<>>)) || Version <- Versions])]
              || HasValues],
    say([Number, <<"ok">>, pair(revision, Revision), pair(oldest_revision, Oldest)] ++ Following
        ++ [[<<"versions=">>, lists:join(<<",">>, [version(Version) || Version <- Versions])]] ++ Values);
answer(Number, {ok, #{succeeded := Succeeded, revision := Revision, results := Results}}) ->
    say([Number, <<"ok">>, pair(succeeded, Succeeded), pair(revision, Revision),
         [<<"results=">>, lists:join(<<",">>, [outcome(Result) || Result <- Results])]]);
answer(Number, {ok, #{count := Count}}) ->
    say([Number, <<"ok">>, pair(count, Count)]);
answer(Number, {ok, #{deleted := Deleted}}) ->
    say([Number, <<"ok">>, pair(deleted, Deleted)]);
answer(Number, {ok, #{role := Role, applied_revision := Applied, keys := Keys, storage := #{log_bytes := Log}}}) ->
    say([Number, <<"ok">>, pair(role, Role), pair(applied_revision, Applied), pair(keys, Keys), pair(log_bytes, Log)]);
answer(Number, {ok, #{history := History}}) ->
    say([Number, <<"ok">>, pair(history, History)]);
answer(Number, {ok, #{leader := Leader, members := Members}}) ->
    say([Number, <<"ok">>, pair(members, length(Members)), pair(leader, Leader)]);
answer(Number, {ok, #{membership := Membership, changed := Changed}}) ->
    say([Number, <<"ok">>, pair(changed, Changed) | listed(Membership)]);
answer(Number, {ok, #{committed := _} = Membership}) ->
    say([Number, <<"ok">> | listed(Membership)]);
answer(Number, {ok, #{safe := Safe, reason := Reason}}) ->
    say([Number, <<"ok">>, pair(safe, Safe), pair(reason, binary:encode_hex(Reason))]);
answer(Number, {ok, #{leader := Leader}}) ->
    say([Number, <<"ok">>, pair(leader, Leader)]);
answer(Number, {ok, #{seconds := Seconds, failed := Failed}}) ->
    say([Number, <<"ok">>, pair(seconds, float_to_binary(Seconds, [{decimals, 6}])), pair(failed, Failed)]);
answer(Number, {ok, #{revision := Revision, version := Version}}) ->
    say([Number, <<"ok">>, pair(revision, Revision), pair(version, Version)]);
answer(Number, {ok, #{settings := Settings}}) ->
    say([Number, <<"ok">> | [[Name, <<"=">>, integer_to_binary(Value)] || #{name := Name, value := Value} <- Settings]]);
answer(Number, {ok, #{revision := Revision}}) ->
    say([Number, <<"ok">>, pair(revision, Revision)]);
answer(Number, unsupported) ->
    say([Number, <<"unsupported">>]);
answer(Number, {error, Error}) ->
    #{kind := Kind, number := Code, retryable := Retryable, outcome := Outcome, message := Message} = Error,
    Actual = [pair(actual_revision, Revision) || #{actual_revision := Revision} <- [Error]],
    say([Number, <<"error">>, pair(kind, kind(Kind)), pair(number, Code), pair(retryable, Retryable),
         pair(outcome, Outcome)] ++ Actual ++ [pair(message, binary:encode_hex(Message))]).

listed(#{version := #{epoch := Epoch, revision := Revision}, members := Members, committed := Committed}) ->
    Voters = length([Member || #{votes := true} = Member <- Members]),
    Numbered = lists:zip(lists:seq(1, length(Members)), [Node || #{node := Node} <- Members]),
    [pair(epoch, Epoch), pair(revision, Revision), pair(members, length(Members)), pair(voters, Voters),
     pair(committed, Committed) | [[<<"node">>, integer_to_binary(I), <<"=">>, integer_to_binary(Node)]
                                   || {I, Node} <- Numbered]].

kind(Kind) -> iolist_to_binary([string:titlecase(Word) || Word <- string:split(atom_to_list(Kind), "_", all)]).

hex(Bytes) -> string:lowercase(binary:encode_hex(Bytes)).

pair(Name, Value) ->
    Text = if
        is_integer(Value) -> integer_to_binary(Value);
        is_atom(Value) -> atom_to_binary(Value);
        Name =:= value; Name =:= message; Name =:= reason -> string:lowercase(Value);
        true -> Value
    end,
    [atom_to_binary(Name), <<"=">>, Text].

say(Words) ->
    io:put_chars([lists:join(<<" ">>, Words), <<"\n">>]).

key(#{<<"key">> := Key}) -> binary:decode_hex(Key).
value(#{<<"value">> := Value}) -> binary:decode_hex(Value).

%% Compiles the module into memory.
load() ->
    Here = filename:dirname(filename:absname(escript:script_name())),
    Source = filename:join([Here, "..", "..", "examples", "erlang", "gometa_raw.erl"]),
    {ok, gometa_raw, Code} = compile:file(Source, [binary, report]),
    {module, gometa_raw} = code:load_binary(gometa_raw, Source, Code).
