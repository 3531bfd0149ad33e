#!/usr/bin/env bash
# Makes the certificates of the TLS tests: make.sh <directory>
#
# A test authority and, signed by it, one certificate per case. Everything is
# made anew for each run, so no private key is in the repository.
#
#   ca.pem                          the authority
#   server.pem server.key           localhost, *.wild.test, 127.0.0.1, ::1
#   other.pem other.key             other.test only
#   expired.pem expired.key         localhost, until 2001
#   client.pem client.key           a client
#   stranger.pem stranger.key       localhost, signed by itself
#   *.p12                           the same for Java; trust.p12 holds the authority
#                                   (password: changeit)
set -euo pipefail
export LC_ALL=C
out=${1:?usage: make.sh <directory>}
mkdir -p "$out"
cd "$out"

quiet() { "$@" >make.log 2>&1 || { cat make.log >&2; exit 1; }; }

key() { quiet openssl ecparam -genkey -name prime256v1 -noout -out "$1.sec1"
        quiet openssl pkcs8 -topk8 -nocrypt -in "$1.sec1" -out "$1.key"
        rm "$1.sec1"; }

bundle() { quiet openssl pkcs12 -export -name "$1" -in "$1.pem" -inkey "$1.key" \
             -out "$1.p12" -passout pass:changeit; }

# issue <name> <subject alternative names> [openssl x509 options for its dates]
issue() {
  local name=$1 alternatives=$2
  shift 2
  key "$name"
  quiet openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
  printf 'subjectAltName=%s\nbasicConstraints=CA:FALSE\n' "$alternatives" >"$name.ext"
  quiet openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial \
    -extfile "$name.ext" -out "$name.pem" "$@"
  rm "$name.csr" "$name.ext"
  bundle "$name"
}

key ca
quiet openssl req -x509 -new -key ca.key -subj '/CN=http-kit test authority' -days 30 \
  -addext basicConstraints=critical,CA:TRUE -out ca.pem
issue server 'DNS:localhost,DNS:*.wild.test,IP:127.0.0.1,IP:::1' -days 30
issue other 'DNS:other.test' -days 30
issue client 'DNS:client.test' -days 30

# `x509 -req` takes no start in the past before OpenSSL 3.4: `ca` does.
key expired
quiet openssl req -new -key expired.key -subj /CN=expired -out expired.csr
printf 'subjectAltName=DNS:localhost\n' >expired.ext
: >index.txt
printf '[ca]\ndefault_ca=a\n[a]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\npolicy=p\n[p]\ncommonName=supplied\n' >ca.conf
quiet openssl ca -batch -config ca.conf -md sha256 -cert ca.pem -keyfile ca.key -notext \
  -startdate 20000101000000Z -enddate 20010101000000Z -extfile expired.ext \
  -in expired.csr -out expired.pem
find . -maxdepth 1 -name '[0-9A-F]*.pem' -delete
rm -f expired.csr expired.ext ca.conf index.txt* ca.srl
bundle expired

key stranger
quiet openssl req -x509 -new -key stranger.key -subj /CN=localhost -days 30 \
  -addext subjectAltName=DNS:localhost -out stranger.pem
bundle stranger

rm -f trust.p12
quiet keytool -importcert -noprompt -alias ca -file ca.pem -keystore trust.p12 \
  -storetype PKCS12 -storepass changeit
rm -f make.log
