#!/usr/bin/env bash
# An MLflow server for a group: PostgreSQL as the store, a folder (or a bucket) for artifacts, in the foreground.
set -euo pipefail

readonly UP_S=120 # longest that a part may take to answer; the first start makes MLflow's tables
readonly PORT_FREE_S=3 # that a server which was just ended may take to give its port back

usage() {
  cat <<'END'
Usage: servers/mlflow-group.sh --data DIRECTORY [options]

Starts PostgreSQL and MLflow below DIRECTORY, prints the address for MLFLOW_TRACKING_URI when both answer, and stops
both, MLflow first, on TERM or INT. Whatever is absent is made; a second start beside a running one prints its address.

  --data DIRECTORY          database, artifacts and logs; on a local disk
  --listen ADDRESS          address to listen on (default 127.0.0.1; 0.0.0.0 for all)
  --port NUMBER             port to listen on (default 5000)
  --host NAME               name that browsers and clients call this machine by; may be repeated
  --user NAME               system user that PostgreSQL runs as when root starts this (default postgres)
  --workers NUMBER          processes that answer (default 4)
  --artifacts URI           where artifacts go (default: DIRECTORY/artifacts), for example s3://bucket/mlflow
  --store-from-environment  use the database that MLFLOW_BACKEND_STORE_URI names instead of a PostgreSQL of its own
  --upgrade                 bring the database to the schema of the installed MLflow, and end
  --help                    print this

Exit: 0 stopped or upgraded, 1 failed, 2 wrong usage, 3 the machine lacks something.
END
}

# The three parts of every error of the project: refuse CODE WHAT WHY FIX.
refuse() {
  printf 'what: %s\nwhy:  %s\nfix:  %s\n' "$2" "$3" "$4" >&2
  exit "$1"
}

wrong_use() { refuse 2 "$1" "$2" "servers/mlflow-group.sh --help"; }

# ---------------------------------------------------------------------------------------------------------- arguments

data='' listen=127.0.0.1 port=5000 user=postgres workers=4 artifacts='' own_store=yes upgrade=no
hosts=()

arguments() {
  while (($#)); do
    case $1 in
      --help) usage; exit 0 ;;
      --store-from-environment) own_store=no; shift; continue ;;
      --upgrade) upgrade=yes; shift; continue ;;
      --data | --listen | --port | --host | --user | --workers | --artifacts)
        (($# > 1)) && [[ -n $2 ]] || wrong_use "$1 without a value" "it needs one" ;;
      *) wrong_use "unknown argument '$1'" "an argument that is not understood would be without effect" ;;
    esac
    case $1 in
      --data) data=$2 ;;
      --listen) listen=$2 ;;
      --port) port=$2 ;;
      --host) hosts+=("$2") ;;
      --user) user=$2 ;;
      --workers) workers=$2 ;;
      --artifacts) artifacts=$2 ;;
    esac
    shift 2
  done
  [[ -n $data ]] || wrong_use "no --data" "the server has to know where its database lies"
  [[ $port =~ ^[1-9][0-9]{0,4}$ ]] && ((port <= 65535)) || wrong_use "--port $port" "ports run from 1 to 65535"
  [[ $workers =~ ^[1-9][0-9]?$ ]] || wrong_use "--workers $workers" "1 to 99 processes can answer"
  local name
  for name in "$listen" ${hosts[@]+"${hosts[@]}"}; do
    # They become a comma-separated list, in which a * would admit every name.
    [[ $name =~ ^[A-Za-z0-9.-]+$ ]] || wrong_use "name or address '$name'" "it has letters, digits, . and - only"
  done
  data=$(realpath -m -- "$data")
  artifacts=${artifacts:-$data/artifacts}
  [[ $artifacts == *://* ]] || artifacts=$(realpath -m -- "$artifacts")
  if [[ $own_store == no && -z ${MLFLOW_BACKEND_STORE_URI:-} ]]; then
    wrong_use "--store-from-environment without MLFLOW_BACKEND_STORE_URI" "it names the database, with its password"
  fi
}

# -------------------------------------------------------------------------------------------------------- the machine

require_local_disk() {
  local place=$data kind
  while [[ ! -e $place ]]; do place=$(dirname -- "$place"); done
  kind=$(stat -f -c %T -- "$place")
  case $kind in
    nfs* | lustre | gpfs | panfs | fhgfs | beegfs | ceph | afs | cifs | smb* | v9fs | fuse*)
      refuse 3 "--data $data is on a network file system ($kind)" \
        "PostgreSQL loses data where locks or fsync are not those of a local disk" \
        "servers/mlflow-group.sh --data /var/lib/mlflow-group, or --store-from-environment with a database elsewhere" ;;
  esac
}

# Every program of PostgreSQL, which refuses root, is started with these words in front.
as_server=(env)

drop_root() {
  id -- "$user" >/dev/null 2>&1 || refuse 3 "there is no user '$user'" \
    "PostgreSQL refuses root, so that root starts it as another user" "apt-get install postgresql, or --user NAME"
  (($(id -u -- "$user"))) || wrong_use "--user $user" "PostgreSQL refuses root"
  as_server=(setpriv --reuid "$user" --regid "$(id -g -- "$user")" --init-groups)
}

# Everything below is the server's own; PostgreSQL's user, where it is another, passes through to its two folders.
make_folders() {
  umask 077
  mkdir -p -- "$data" && [[ -O $data && -w $data ]] || refuse 3 "$data does not belong to user '$(id -un)'" \
    "the database is written there, by one user alone" "chown -R $(id -un) $data, or another --data"
  chmod 711 -- "$data"
  mkdir -p -- "$data/log" "$data/socket"
  cd -- "$data" # PostgreSQL's user may not be let into the folder that this was started from
  [[ $own_store == yes ]] || return 0
  ((EUID)) || chown -- "$user:" "$data/socket"
  "${as_server[@]}" test -w "$data/socket" || refuse 3 "user '$user' cannot write below $data" \
    "PostgreSQL runs as that user" "chmod the folders above it so that others may pass (o+x), or another --data"
}

find_programs() {
  local program
  for program in setpriv flock; do
    command -v "$program" >/dev/null ||
      refuse 3 "$program is not installed" "the server is started with it" "apt-get install util-linux"
  done
  # Looked for, not imported: that takes seconds.
  python -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("mlflow") and u.find_spec("psycopg2")))' ||
    refuse 3 "mlflow and psycopg2 are not in the Python that is found first ($(command -v python || echo none))" \
      "MLflow reaches PostgreSQL through psycopg2" "make setup, or activate the environment that has both"
  [[ $own_store == yes ]] || return 0
  local version
  if [[ -f $data/postgres/PG_VERSION ]]; then
    version=$(<"$data/postgres/PG_VERSION")
  else
    version=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sed -E 's|.*/postgresql/([^/]+)/bin/initdb|\1|' |
      sort -V | tail -n 1)
  fi
  if [[ -x /usr/lib/postgresql/$version/bin/postgres ]]; then
    PATH=/usr/lib/postgresql/$version/bin:$PATH
  elif [[ -f $data/postgres/PG_VERSION ]]; then
    program=$(command -v postgres || true)
    [[ -n $program && $("$program" --version) =~ \ ${version}(\.|$) ]] ||
      refuse 3 "$data/postgres was made by PostgreSQL $version, which is not installed" \
        "another version cannot open its files" "apt-get install postgresql-$version"
  elif ! command -v initdb >/dev/null; then
    refuse 3 "PostgreSQL is not installed" "it is the store of the server" "apt-get install postgresql"
  fi
}

# ---------------------------------------------------------------------------------------------------------- PostgreSQL

# Reached over a socket in a folder that only its user (and root) can enter: the kernel says who calls, so there is no
# password to be kept, and nothing listens on the network.
make_cluster() {
  [[ -f $data/postgres/PG_VERSION ]] && return
  local partial=$data/postgres.partial
  rm -rf -- "$partial"
  mkdir -m 700 -- "$partial"
  ((EUID)) || chown -- "$user:" "$partial"
  "${as_server[@]}" initdb --pgdata "$partial" --auth peer --encoding UTF8 --locale C.UTF-8 --data-checksums \
    >"$data/log/initdb.log" 2>&1 || failed "initdb" "$data/log/initdb.log"
  printf '%s\n' 'local all all peer map=server' >"$partial/pg_hba.conf"
  local owner
  owner=$(stat -c %U -- "$partial")
  printf 'server %s %s\n' "$owner" "$owner" "$owner" mlflow root mlflow >"$partial/pg_ident.conf"
  printf '%s\n' 'CREATE ROLE mlflow LOGIN' 'CREATE DATABASE mlflow OWNER mlflow' |
    "${as_server[@]}" postgres --single -D "$partial" postgres >>"$data/log/initdb.log" 2>&1 ||
    failed "postgres --single" "$data/log/initdb.log"
  mv -T -- "$partial" "$data/postgres" # from here on it is complete
}

start_postgres() {
  local socket=$data/socket
  # Source: sockaddr_un holds 107 bytes.
  ((${#socket} + 16 <= 107)) || refuse 2 "--data $data has ${#data} characters" \
    "the path of PostgreSQL's socket below it would be longer than the 107 bytes that the kernel takes" \
    "choose a shorter one"
  make_cluster
  # Of a start whose shell was killed: it is on its way out, or has to be sent there.
  if "${as_server[@]}" pg_ctl --pgdata "$data/postgres" status >/dev/null; then
    "${as_server[@]}" pg_ctl --pgdata "$data/postgres" --mode fast --timeout "$UP_S" stop \
      >>"$data/log/postgres.log" 2>&1 || true
  fi
  # Each MLflow worker holds pools of up to 15 connections; PostgreSQL's own limit is 100.
  "${as_server[@]}" setpriv --pdeathsig INT postgres -D "$data/postgres" -k "$socket" -c listen_addresses='' \
    -c unix_socket_permissions=0700 -c max_connections=$((60 * workers + 20)) \
    >>"$data/log/postgres.log" 2>&1 9>&- &
  postgres=$!
  wait_until "$postgres" "postgres" "$data/log/postgres.log" \
    pg_isready --quiet --host "$socket" --username mlflow --dbname mlflow
  # The socket is no part of the address, in which a + or % of its path would mean something else.
  export PGHOST=$socket MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://mlflow@/mlflow
}

# -------------------------------------------------------------------------------------------------------------- MLflow

start_mlflow() {
  local name names=() origins=()
  for name in 127.0.0.1 localhost "$listen" ${hosts[@]+"${hosts[@]}"}; do
    [[ $name == 0.0.0.0 ]] && continue
    # Without the port too: a proxy in front of the server passes the name on as browsers know it.
    names+=("$name:$port" "$name")
    origins+=("http://$name:$port" "https://$name")
  done
  local IFS=,
  # The store is in the environment: an address in an argument could be read by everyone on this machine.
  setpriv --pdeathsig TERM python -m mlflow server --host "$listen" --port "$port" --workers "$workers" \
    --artifacts-destination "$artifacts" --allowed-hosts "${names[*]}" --cors-allowed-origins "${origins[*]}" \
    --uvicorn-opts '--timeout-graceful-shutdown 10' >>"$data/log/mlflow.log" 2>&1 9>&- &
  mlflow=$!
  unset IFS
  wait_until "$mlflow" "mlflow server" "$data/log/mlflow.log" answers
}

# True if MLflow answers on the port.
answers() {
  local line
  exec 3<>"/dev/tcp/$(near_address)/$port" || return 1
  printf 'GET /health HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$port" >&3
  IFS= read -r -t 10 line <&3 || line=''
  exec 3>&-
  [[ $line == 'HTTP/1.1 200'* ]]
} 2>/dev/null

near_address() { if [[ $listen == 0.0.0.0 ]]; then echo 127.0.0.1; else echo "$listen"; fi; }

# A port that something else answers on would look like a server that is up.
require_free_port() {
  local limit=$((SECONDS + PORT_FREE_S))
  while (exec 3<>"/dev/tcp/$(near_address)/$port") 2>/dev/null; do
    ((SECONDS < limit)) || refuse 3 "port $port of $listen is in use" "two servers cannot listen on it" "--port NUMBER"
    sleep 0.2
  done
}

upgrade_store() {
  python -c 'import os; from mlflow.cli import cli; cli(["db", "upgrade", os.environ["MLFLOW_BACKEND_STORE_URI"]])' \
    >>"$data/log/mlflow.log" 2>&1 || failed "mlflow db upgrade" "$data/log/mlflow.log"
  python -c 'from importlib.metadata import version as v; print("the database has the schema of MLflow", v("mlflow"))'
}

# --------------------------------------------------------------------------------------------------------- from to end

failed() {
  refuse 1 "$1 failed: $(tail -n 3 -- "$2" | tr '\n' ' ')" "the server does not run without it" "read $2"
}

# wait_until PID NAME LOG COMMAND...: until the command succeeds; the process may end before, or never answer.
wait_until() {
  local pid=$1 name=$2 log=$3 limit=$((SECONDS + UP_S))
  shift 3
  until "$@"; do
    kill -0 "$pid" 2>/dev/null && ((SECONDS < limit)) || failed "$name" "$log"
    sleep 0.1
  done
}

postgres='' mlflow=''

# MLflow first: it ends what it was asked for while the database is still there.
stop() {
  trap '' TERM INT
  rm -f -- "$data/uri"
  [[ -z $mlflow ]] || { kill -TERM "$mlflow" 2>/dev/null && wait "$mlflow"; } || true
  [[ -z $postgres ]] || { kill -INT "$postgres" 2>/dev/null && wait "$postgres"; } || true
}

# Another process runs the server of this folder: its address, once it answers. Returns if that one ends before.
second_start() {
  [[ $upgrade == no ]] || refuse 1 "the server of $data is running" "it would meet tables that change under it" \
    "stop it first"
  local limit=$((SECONDS + UP_S))
  until flock --nonblock 9; do
    if [[ -s $data/uri ]]; then
      cat -- "$data/uri"
      exit 0
    fi
    ((SECONDS < limit)) || refuse 1 "another process holds $data and does not answer" "one server runs at a time" \
      "read $data/log, stop it, and start again"
    sleep 0.2
  done
}

main() {
  arguments "$@"
  # The project's environment, where there is one, has both MLflow and psycopg2.
  local here
  here=$(dirname -- "$(realpath -- "${BASH_SOURCE[0]}")")
  [[ ! -x $here/../.venv/bin/python ]] || PATH=$(realpath -- "$here/..")/.venv/bin:$PATH
  require_local_disk
  ((EUID)) || [[ $own_store == no ]] || drop_root
  find_programs
  export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
  make_folders
  exec 9>>"$data/lock"
  flock --nonblock 9 || second_start
  rm -f -- "$data/uri"
  trap stop EXIT
  trap 'exit 0' TERM INT
  if [[ $upgrade == yes ]]; then
    [[ $own_store == no ]] || start_postgres
    upgrade_store
    exit 0
  fi
  require_free_port
  [[ $own_store == no ]] || start_postgres
  start_mlflow
  printf 'export MLFLOW_TRACKING_URI=http://%s:%s\n' "${hosts[0]:-$(near_address)}" "$port" >"$data/uri.partial"
  mv -- "$data/uri.partial" "$data/uri"
  cat -- "$data/uri"
  # Both are needed: whichever ends first ends the other.
  local code=0
  wait -n ${postgres:+"$postgres"} "$mlflow" || code=$?
  if kill -0 "$mlflow" 2>/dev/null; then
    failed "postgres (exit code $code)" "$data/log/postgres.log"
  fi
  failed "mlflow server (exit code $code)" "$data/log/mlflow.log"
}

main "$@"
