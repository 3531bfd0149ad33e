(ns org.httpkit.sni-client
  "Server name indication and host name verification for TLS engines. The
  default client of `org.httpkit.client` does both itself; this namespace is for
  clients that configure their own engines, and for older code."
  (:require
   [org.httpkit.requirements])
  (:import
   [java.net URI]
   [javax.net.ssl SSLEngine]
   [org.httpkit.client SniConfigurer]))

(defn ssl-configurer
  "Prepares `ssl-engine` for a connection to the host of `uri`, and returns it.
  For `:ssl-configurer` of `org.httpkit.client/make-client`.

  Options:
    :sni?                   ; Send the host name to the server? Not for IP
                            ; addresses. (default true)
    :hostname-verification? ; Must the certificate be for that host or IP
                            ; address? (default true)

  Throws IllegalArgumentException for hosts that cannot be sent in SNI, such as
  one with a trailing dot.

    (make-client {:ssl-configurer (partial ssl-configurer {:hostname-verification? false})})
    (ssl-configurer engine (java.net.URI. \"https://example.org/\"))"
  ([ssl-engine uri] (ssl-configurer nil ssl-engine uri))
  ([{:keys [sni? hostname-verification?]
     :or   {sni? true hostname-verification? true}}
    ^SSLEngine ssl-engine ^URI uri]
   (.configure (SniConfigurer. (boolean sni?) (boolean hostname-verification?)) ssl-engine uri)
   ssl-engine))

(def ^{:deprecated "v2.7"} default-client
  "A delay of nil, which means `org.httpkit.client/default-client` wherever a
  client is expected: that client now does what this one did. Kept for code that
  binds `org.httpkit.client/*default-client*` to it."
  (delay nil))
