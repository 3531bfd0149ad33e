(ns httpkit.golden.value
  "Clojure and Java values of the golden data: JSON for itself, one-key
  objects for the rest. Every call makes fresh streams, files and buffers."
  (:require [httpkit.golden.bytes :as bytes])
  (:import [clojure.lang Reflector]
           [java.io ByteArrayInputStream File IOException InputStream]
           [java.nio ByteBuffer]
           [java.nio.file Files OpenOption]
           [java.nio.file.attribute FileAttribute]
           [java.util HashMap]))

(set! *warn-on-reflection* true)

(declare value)

(defn- keyed
  "Map with the keys of `m` passed through `key-fn`, in the same order."
  [key-fn m]
  (apply array-map (mapcat (fn [[k v]] [(key-fn k) (value v)]) m)))

(defn- temp-file ^File [b]
  (let [f (doto (File/createTempFile "golden" ".data") .deleteOnExit)]
    (Files/write (.toPath f) (bytes/to-bytes b) ^"[Ljava.nio.file.OpenOption;" (make-array OpenOption 0))
    f))

(defn- temp-dir ^File []
  (doto (.toFile (Files/createTempDirectory "golden" ^"[Ljava.nio.file.attribute.FileAttribute;" (make-array FileAttribute 0)))
    .deleteOnExit))

(defn- throwing-stream [^String message]
  (proxy [InputStream] []
    (read
      ([] (throw (IOException. message)))
      ([_] (throw (IOException. message)))
      ([_ _ _] (throw (IOException. message))))))

(defn named-fn
  "The functions that data may name."
  [n]
  (case n
    "identity" identity
    "status" :status
    "throw" (fn [& _] (throw (RuntimeException. "boom")))
    "nil" (fn [& _] nil)))

(defn- client [n]
  (case n
    ("default" "default-client") @(requiring-resolve 'org.httpkit.client/default-client)
    ("legacy" "legacy-client") @(requiring-resolve 'org.httpkit.client/legacy-client)
    ("insecure" "insecure-client") @(requiring-resolve 'org.httpkit.client/insecure-client)
    "delay-nil" (delay nil)))

(defn- control-frame [class-name b]
  (Reflector/invokeConstructor (Class/forName class-name)
                               (object-array [(bytes/to-bytes b)])))

(defn- headers-value
  "`:headers` of a Ring map: a plain object is a string-keyed map. An object
  is a value object only when its single key is one of the map makers."
  [v]
  (if (and (map? v) (not (#{"map" "smap" "hashmap" "opts"} (ffirst v))))
    (keyed identity v)
    (value v)))

(defn- ring-map [m]
  (apply array-map
         (mapcat (fn [[k v]] [(keyword k) (if (= k "headers") (headers-value v) (value v))])
                 m)))

(def ^:private makers
  {"kw" keyword
   "sym" symbol
   "char" first
   "sb" (fn [^String s] (StringBuilder. s))
   "url" (fn [^String s] (java.net.URL. s))
   "int" int
   "double" double
   "bigint" bigint
   "bytes" bytes/to-bytes
   "bytebuffer" (fn [b] (ByteBuffer/wrap (bytes/to-bytes b)))
   "stream" (fn [b] (ByteArrayInputStream. (bytes/to-bytes b)))
   "file" temp-file
   "file-missing" (fn [_] (doto (temp-file "") .delete))
   "dir" (fn [_] (temp-dir))
   "throwing-stream" throwing-stream
   "list" (fn [xs] (apply list (map value xs)))
   "lazy" (fn [xs] (map value xs))
   "set" (fn [xs] (set (map value xs)))
   "opts" (fn [m] (keyed keyword m))
   "smap" (fn [m] (keyed identity m))
   "map" (fn [kvs] (apply array-map (map value (mapcat identity kvs))))
   "hashmap" (fn [kvs] (reduce (fn [^HashMap m [k v]] (doto m (.put (value k) (value v))))
                               (HashMap.) kvs))
   "ring" ring-map
   "ping" (fn [b] (control-frame "org.httpkit.server.Frame$PingFrame" b))
   "pong" (fn [b] (control-frame "org.httpkit.server.Frame$PongFrame" b))
   "filter" (fn [n] (@(requiring-resolve 'org.httpkit.client/max-body-filter) n))
   "fn" named-fn
   "client" client
   "promise" (fn [_] (promise))
   "object" (fn [_] (Object.))})

(defn value
  "The value that the data writes as `v`. An unknown object throws."
  [v]
  (cond
    (map? v) (let [[k x] (first v)
                   make (when (= 1 (count v)) (get makers k))]
               (if make
                 (make x)
                 (throw (ex-info "unknown value" {:type ::unknown :value v}))))
    (vector? v) (mapv value v)
    :else v))

(defn options
  "Option map from a JSON object: keys become keywords."
  [m]
  (into {} (map (fn [[k v]] [(keyword k) (value v)])) m))

(defn substitute
  "`x` with each `{name}` of `replacements` (string to string) replaced in all
  strings, keys of objects left alone."
  [replacements x]
  (cond
    (string? x) (reduce (fn [^String s [k v]] (.replace s ^CharSequence k ^CharSequence v))
                        x replacements)
    (vector? x) (mapv #(substitute replacements %) x)
    (map? x) (apply array-map
                    (mapcat (fn [[k v]] [k (substitute replacements v)]) x))
    :else x))
