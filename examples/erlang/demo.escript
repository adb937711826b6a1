#!/usr/bin/env escript
%% Every call, by a client without a library.
%%
%%     escript demo.escript 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003

-mode(compile).

main([Peers]) ->
    load(),
    case gometa_raw:start_link(Peers) of
        {ok, Client} ->
            %% An unexpected error of a call ends the program.
            try tour(Client) catch error:{badmatch, {error, Error}} -> fail(Error) end;
        {error, Error} -> fail(Error)
    end;
main(_) ->
    io:format(standard_error, "usage: escript demo.escript PEERS (host:port,...)~n", []),
    halt(2).

tour(Client) ->
    Key = <<"erlang/colour">>,

    %% A write.
    {Revision, _} = case gometa_raw:set(Client, Key, <<"red">>) of
        {ok, #{revision := Made, version := Version}} -> {Made, Version};
        {error, Error} -> fail(Error)
    end,
    io:format("set at revision ~b~n", [Revision]),

    %% A linearizable read: it sees every write that was acknowledged before it began.
    {ok, #{value := Value}} = gometa_raw:get(Client, Key),
    io:format("value ~s~n", [Value]),

    %% Compare and set: writes only if the key still has this revision.
    {ok, _} = gometa_raw:cas(Client, Key, Revision, <<"green">>),
    {error, #{kind := cas_mismatch, actual_revision := Actual}} =
        gometa_raw:cas(Client, Key, Revision, <<"blue">>),
    io:format("the key was changed: ~s~n", [Actual > Revision]),

    %% Creates a key; fails if it exists.
    {error, #{kind := already_exists, outcome := Outcome}} = gometa_raw:add(Client, Key, <<"blue">>),
    io:format("the key exists, outcome ~s~n", [Outcome]),

    %% A local read is answered from the state of the connected node.
    {ok, #{value := Local}} = gometa_raw:get(Client, Key, #{local => true}),
    io:format("local value ~s~n", [Local]),

    %% A scan reads the keys of a range in order, in pages that all show one revision.
    {ok, #{entries := Entries}} = gometa_raw:scan(Client, #{prefix => <<"erlang/">>}),
    [io:format("scanned ~s: ~s~n", [Scanned, Now]) || #{key := Scanned, value := Now} <- Entries],

    %% Earlier revisions can be read too, usually those of the last hour.
    {ok, #{value := Before}} = gometa_raw:get(Client, Key, #{at_revision => Revision}),
    io:format("before ~s~n", [Before]),

    %% A transaction: several operations as one, if all comparisons hold.
    Paint = <<"erlang/paint">>,
    {ok, #{succeeded := Moved}} = gometa_raw:txn(Client, #{
        'when' => [{value, Key, '=', <<"green">>}, {mod_revision, Paint, '=', 0}],
        then => [{delete, Key}, {set, Paint, <<"green">>}],
        otherwise => [{get, Key}]}),
    io:format("moved: ~s~n", [Moved]),

    %% A guard: writes only while this key is the one that was created then, such as that of a lock.
    {ok, Guard} = gometa_raw:get(Client, Paint),
    {ok, #{existed := Existed}} = gometa_raw:delete(Client, Paint, #{guard => Guard}),
    io:format("deleted: ~s~n", [Existed]),
    {error, #{kind := guard_failed, actual_revision := None}} =
        gometa_raw:set(Client, Key, <<"red">>, #{guard => Guard}),
    io:format("the guard has failed, actual revision ~b~n", [None]),

    %% A setting of the ensemble.
    {ok, #{settings := [#{name := Setting, value := Chosen, min := Min, max := Max} | _]}} = gometa_raw:settings(Client),
    io:format("~s: ~b, from ~b to ~b~n", [Setting, Chosen, Min, Max]),

    {error, #{kind := Kind, number := Number}} = gometa_raw:get(Client, Key, #{timeout => 2000}),
    io:format("~s, number ~b~n", [Kind, Number]),

    {ok, #{role := Role, votes := Votes}} = gometa_raw:status(Client),
    {ok, #{members := Members}} = gometa_raw:view(Client),
    io:format("the connected node is ~s, one of ~b, and votes: ~s~n", [Role, length(Members), Votes]),
    gometa_raw:stop(Client).

fail(#{kind := Kind, message := Message}) ->
    io:format(standard_error, "~s: ~ts~n", [Kind, Message]),
    halt(1).

%% Compiles the module in this directory into memory.
load() ->
    Source = filename:join(filename:dirname(escript:script_name()), "gometa_raw.erl"),
    {ok, gometa_raw, Code} = compile:file(Source, [binary, report]),
    {module, gometa_raw} = code:load_binary(gometa_raw, Source, Code).
