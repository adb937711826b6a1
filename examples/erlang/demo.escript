#!/usr/bin/env escript
%% A tour of every call, by a client without a library.
%%
%%     escript demo.escript 127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003

-mode(compile).

main([Peers]) ->
    load(),
    case gometa_raw:start_link(Peers) of
        {ok, Client} ->
            %% A call of the tour that fails in another way than it expects ends it.
            try tour(Client) catch error:{badmatch, {error, Error}} -> give_up(Error) end;
        {error, Error} -> give_up(Error)
    end;
main(_) ->
    io:format(standard_error, "usage: escript demo.escript PEERS (host:port,...)~n", []),
    halt(2).

tour(Client) ->
    Key = <<"erlang/colour">>,

    %% A write, and what it made of the key.
    {Revision, _} = case gometa_raw:set(Client, Key, <<"red">>) of
        {ok, #{revision := Made, version := Version}} -> {Made, Version};
        {error, Error} -> give_up(Error)
    end,
    io:format("set at revision ~b~n", [Revision]),

    %% A read sees every write that was acknowledged before.
    {ok, #{value := Value}} = gometa_raw:get(Client, Key),
    io:format("value ~s~n", [Value]),

    %% A change that happens only if nobody else was quicker.
    {ok, _} = gometa_raw:cas(Client, Key, Revision, <<"green">>),
    {error, #{kind := cas_mismatch, actual_revision := Actual}} =
        gometa_raw:cas(Client, Key, Revision, <<"blue">>),
    io:format("somebody was quicker: ~s~n", [Actual > Revision]),

    %% A key that must be new.
    {error, #{kind := already_exists, outcome := Outcome}} = gometa_raw:add(Client, Key, <<"blue">>),
    io:format("already there, outcome ~s~n", [Outcome]),

    %% What the node in use has applied, without asking the others.
    {ok, #{value := Local}} = gometa_raw:get(Client, Key, #{local => true}),
    io:format("local value ~s~n", [Local]),

    {ok, #{existed := Existed}} = gometa_raw:delete(Client, Key),
    io:format("deleted: ~s~n", [Existed]),
    {error, #{kind := Kind, number := Number}} = gometa_raw:get(Client, Key, #{timeout => 2000}),
    io:format("~s, number ~b~n", [Kind, Number]),

    {ok, #{role := Role, votes := Votes}} = gometa_raw:status(Client),
    {ok, #{members := Members}} = gometa_raw:view(Client),
    io:format("asked a node that is ~s, one of ~b, and votes: ~s~n", [Role, length(Members), Votes]),
    gometa_raw:stop(Client).

give_up(#{kind := Kind, message := Message}) ->
    io:format(standard_error, "~s: ~ts~n", [Kind, Message]),
    halt(1).

%% Compiles the module beside this file into memory.
load() ->
    Source = filename:join(filename:dirname(escript:script_name()), "gometa_raw.erl"),
    {ok, gometa_raw, Code} = compile:file(Source, [binary, report]),
    {module, gometa_raw} = code:load_binary(gometa_raw, Source, Code).
