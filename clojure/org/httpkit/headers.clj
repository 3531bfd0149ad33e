(ns ^:no-doc org.httpkit.headers
  "Headers as users give them, of a request or a response: a map with names in any case. Not API."
  (:require
   [org.httpkit.requirements])
  (:import
   [java.util Locale]
   [org.httpkit HeaderValues]))

(set! *warn-on-reflection* true)

(defn- lower-case [k]
  (.toLowerCase (str k) Locale/ROOT))

(defn has?
  "Whether the header with this name (lower case) has a value."
  [headers header]
  (boolean (some (fn [[k v]] (and (= header (lower-case k)) (some? v))) headers)))

(defn value-of
  "The only value, as a string, of the header with this name (lower case); nil if it has none or several."
  [headers header]
  (some (fn [[k v]] (when (= header (lower-case k)) (some-> (HeaderValues/single v) str))) headers))

;; Array maps of any size: others lose the order from the ninth header on.

(defn- others
  "Names and values, in turn, of the headers that are not in `names`."
  [headers names]
  (reduce (fn [acc [k v]] (if (contains? names (lower-case k)) acc (conj acc k v)))
          [] headers))

(defn without
  "`headers` without those named in `names` (lower case), ignoring case, in their order."
  [headers names]
  (apply array-map (others headers names)))

(defn with
  "`headers`, in their order, with this one, last, replacing any of the same name."
  [headers header value]
  (apply array-map (conj (others headers #{(lower-case header)}) header value)))
