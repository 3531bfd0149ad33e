(ns httpkit.tls-wire
  "Connections of `httpkit.wire` over TLS, with Java's engine."
  (:require [httpkit.tls-certs :as certs]
            [httpkit.wire      :as wire])
  (:import (java.io Closeable)
           (java.net InetSocketAddress Socket)
           (java.security.cert X509Certificate)
           (javax.net.ssl SNIHostName SSLContext SSLParameters SSLSocket)))

(set! *warn-on-reflection* true)

(defn socket
  "An SSLSocket to `port` on 127.0.0.1 after its handshake.

    :context    an SSLContext (default: trusts the authority, has no certificate)
    :sni        the name that is asked for (default none)
    :protocols, :suites, :alpn   as Java names them"
  ^SSLSocket [port {:keys [^SSLContext context sni protocols suites alpn]}]
  (let [plain  (doto (Socket.)
                 (.connect (InetSocketAddress. "127.0.0.1" (int port)) (int wire/patience-ms))
                 (.setSoTimeout wire/patience-ms))
        ^SSLSocket socket (.createSocket (.getSocketFactory ^SSLContext (or context (certs/context))) plain nil (int port) true)
        ^SSLParameters parameters (.getSSLParameters socket)]
    (try
      (when sni       (.setServerNames parameters [(SNIHostName. ^String sni)]))
      (when protocols (.setProtocols parameters (into-array String protocols)))
      (when suites    (.setCipherSuites parameters (into-array String suites)))
      (when alpn      (.setApplicationProtocols parameters (into-array String alpn)))
      (.setSSLParameters socket parameters)
      (.startHandshake socket)
      socket
      (catch Throwable t
        (.close plain)
        (throw t)))))

(defn connect
  "A connection of `httpkit.wire`, options as of `socket`."
  (^Closeable [port] (connect port nil))
  (^Closeable [port options] (wire/wrap (socket port options))))

(defn fetch
  "One request on a connection of its own; `:refused` if the server ends it in, or right after, the handshake."
  ([port path] (fetch port path nil))
  ([port path options]
   (try
     (with-open [conn (connect port options)]
       (wire/send! conn (wire/get-request path))
       (let [answer (wire/answer conn)]
         (if (= :closed answer) :refused answer)))
     (catch javax.net.ssl.SSLException _ :refused)
     (catch java.net.SocketException _ :refused))))

(defn server-names
  "The names of the certificate that the server shows, of the kind DNS."
  [port options]
  (with-open [socket (socket port options)]
    (mapv second (filter #(= 2 (first %))
                   (.getSubjectAlternativeNames ^X509Certificate (first (.getPeerCertificates (.getSession socket))))))))
