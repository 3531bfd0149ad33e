(ns httpkit.scheme
  "What servers under test and their peers speak: plain HTTP, or TLS in a JVM with `-Dhttpkit.scheme=https`. Servers and
  connections of `httpkit.wire`, `httpkit.channel-wire` and `httpkit.ws-wire` ask here, so each scenario is written once."
  (:require [httpkit.tls-certs :as certs])
  (:import (java.net Socket)
           (java.util Collections Map WeakHashMap)
           (javax.net.ssl SSLContext SSLSocket)))

(set! *warn-on-reflection* true)

(def https? (= "https" (System/getProperty "httpkit.scheme")))

(def scheme "Of a request, where nothing else is said." (if https? :https :http))

(defn options
  "Options of a server: over TLS, it has no plain port. Those that say where or how to listen stay as they are."
  [options]
  (if (and https? (not-any? #(get options %) [:ssl-port :ssl? :address-finder :channel-factory :listen-socket :unix-socket]))
    (merge {:http? false :ssl-port (:port options 0) :tls (certs/pem "server")} options)
    options))

(def ^:private context (delay (certs/context)))

(def ^:private ^Map sockets "TLS socket -> that below it." (Collections/synchronizedMap (WeakHashMap.)))

(defn secure
  "A connected socket after the handshake, if there is one."
  ^Socket [^Socket socket]
  (if (and https? (not (instance? SSLSocket socket)))
    (let [secured (.createSocket (.getSocketFactory ^SSLContext @context) socket nil (.getPort socket) true)]
      (try
        (.startHandshake ^SSLSocket secured)
        (catch Throwable t
          (.close socket)
          (throw t)))
      (.put sockets secured socket)
      secured)
    socket))

(defn reset!!
  "Closes with RST, and without a word of TLS."
  [^Socket socket]
  (let [^Socket below (or (.get sockets socket) socket)]
    (try (.setSoLinger below true 0) (catch java.io.IOException _ nil))
    (.close below)))
