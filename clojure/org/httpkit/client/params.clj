(ns ^:no-doc org.httpkit.client.params
  "Parameters as text: query strings and form bodies. Not API: use `query-string` and `url-encode` of
  `org.httpkit.client`."
  (:require
   [clojure.string      :as str]
   [clojure.walk        :as walk]
   [org.httpkit.options :as options])
  (:import
   [clojure.lang Named]
   [java.net URLEncoder]
   [java.util Map$Entry RandomAccess]))

(set! *warn-on-reflection* true)

(defn url-encode
  "`x` as a String, form-url-encoded as UTF-8; nil gives \"\"."
  [x]
  (URLEncoder/encode (str x) "UTF-8"))

(defn name-of
  "The name of a parameter, or ClassCastException."
  [k]
  (when-not (or (string? k) (instance? Named k))
    (throw (ClassCastException.
             (str "parameter name " (options/shown k) ": expected a String, Keyword or Symbol"))))
  (name k))

(def ^:private expected ": expected a map or a seq of pairs, such as [[:name value]]")

(defn- pair?
  "Whether `x` can be destructured. The name of a string, or of nil, is refused later."
  [x]
  (or (sequential? x) (instance? Map$Entry x) (instance? RandomAccess x) (string? x) (nil? x)
      (.isArray (class x))))

(defn pairs
  "A seq of the names and values of `params`, or IllegalArgumentException."
  [params]
  (when (if (string? params) (seq params) (not (seqable? params)))
    (options/refuse! "parameters " (options/shown params) expected))
  (map (fn [x]
         (when-not (pair? x)
           (options/refuse! "parameter " (options/shown x) expected))
         x)
       (seq params)))

(defn- sub-key [k sub]
  (str (if (instance? Named k) (name k) k) "[" (name-of sub) "]"))

(defn- odd-vectors
  "As in http-kit, a 2-vector whose second element is a map counts as a map entry, even in the middle of a value."
  [v]
  (walk/prewalk
   (fn [x]
     (if (and (vector? x) (map? (second x)))
       (let [[k m] x]
         (reduce-kv (fn [acc sub v] (assoc acc (sub-key k sub) v)) {} m))
       x))
   v))

(defn- nest-maps
  "[:a {:b {:c 1}}] => ([\"a[b][c]\" 1])"
  [[k v]]
  (if (map? v)
    (mapcat (fn [[sub x]] (nest-maps [(sub-key k sub) x])) v)
    [[k (if (coll? v) (odd-vectors v) v)]]))

(defn- nest-indexed
  "[:a [{:b 1}]] => ([\"a[0][b]\" 1])"
  [[k v]]
  (cond
    (map? v)        (mapcat (fn [[sub x]] (nest-indexed [(sub-key k sub) x])) v)
    (sequential? v) (mapcat (fn [i x] (nest-indexed [(sub-key k (str i)) x])) (range) v)
    :else           [[k v]]))

(defn- encode-param [style [k v]]
  (let [k (name-of k)
        pair (fn [k v] (str (url-encode k) "=" (url-encode v)))]
    (cond
      (not (sequential? v))      (pair k v)
      (= style :comma-separated) (pair k (str/join "," v))
      :else
      (let [k (if (= style :array) (str k "[]") k)]
        (if (seq v)
          (str/join "&" (map #(pair k %) v))
          (pair k nil))))))

(defn query-string
  "See `org.httpkit.client/query-string`."
  ([params] (query-string params nil))
  ([params nested-param-style]
   (->> (pairs params)
        (mapcat (if (= nested-param-style :indexed) nest-indexed nest-maps))
        (map #(encode-param nested-param-style %))
        (str/join "&"))))

(defn add-query
  "`url` with `params` added to its query, before the fragment."
  [^String url params style]
  (let [fragment (str/index-of url "#")
        base     (if fragment (subs url 0 fragment) url)]
    (str base
         (if (str/includes? base "?") "&" "?")
         (query-string params style)
         (when fragment (subs url fragment)))))
