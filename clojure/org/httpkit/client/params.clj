(ns ^:no-doc org.httpkit.client.params
  "Parameters as text: query strings and form bodies. Not API: use `query-string` and `url-encode` of
  `org.httpkit.client`."
  (:require
   [clojure.string      :as str]
   [clojure.walk        :as walk]
   [org.httpkit.options :as options])
  (:import
   [java.net URLEncoder]))

(set! *warn-on-reflection* true)

(defn url-encode
  "`x` as a String, form-url-encoded as UTF-8; nil gives \"\"."
  [x]
  (URLEncoder/encode (str x) "UTF-8"))

(defn- sub-key [k sub]
  (str (if (instance? clojure.lang.Named k) (name k) k) "[" (name sub) "]"))

(defn- nest-maps
  "{:a {:b 1}} => {\"a[b]\" 1}, at any depth. A 2-vector whose second element is a
  map is treated as a map entry, as in http-kit."
  [params]
  (walk/prewalk
   (fn [x]
     (if (and (vector? x) (map? (second x)))
       (let [[k m] x]
         (reduce-kv (fn [acc sub v] (assoc acc (sub-key k sub) v)) {} m))
       x))
   params))

(defn- nest-indexed
  "[:a [{:b 1}]] => ([\"a[0][b]\" 1])"
  [[k v]]
  (cond
    (map? v)        (mapcat (fn [[sub x]] (nest-indexed [(sub-key k sub) x])) v)
    (sequential? v) (mapcat (fn [i x] (nest-indexed [(sub-key k (str i)) x])) (range) v)
    :else           [[k v]]))

(defn name-of
  "The name of a parameter, or ClassCastException."
  [k]
  (when-not (or (string? k) (instance? clojure.lang.Named k))
    (throw (ClassCastException.
             (str "parameter name " (options/shown k) ": expected a String, Keyword or Symbol"))))
  (name k))

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
   (->> (if (= nested-param-style :indexed)
          (mapcat nest-indexed params)
          (nest-maps params))
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
