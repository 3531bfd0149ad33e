(ns ^:no-doc org.httpkit.options.typos
  "The option that an unknown name was likely meant to be. Not API."
  (:require [clojure.string :as str]))

(set! *warn-on-reflection* true)

(defn- option-name [k]
  (if (keyword? k) (subs (str k) 1) (str k)))

(defn- distance
  "How many letters must be inserted, deleted, replaced or swapped with their
  neighbour to turn `b` into `a`."
  [^String a ^String b]
  (let [width (inc (count b))
        cost  (fn [rows i j]
                (let [row    (peek rows)
                      above  (rows (dec i))
                      same?  (= (.charAt a (dec i)) (.charAt b (dec j)))
                      swap?  (and (< 1 i) (< 1 j)
                                  (= (.charAt a (dec i)) (.charAt b (- j 2)))
                                  (= (.charAt a (- i 2)) (.charAt b (dec j))))]
                  (cond-> (min (inc (row (dec j)))
                               (inc (above j))
                               (+ (above (dec j)) (if same? 0 1)))
                    swap? (min (inc ((rows (- i 2)) (- j 2)))))))
        add   (fn [rows i]
                (reduce (fn [rows j] (conj (pop rows) (conj (peek rows) (cost rows i j))))
                        (conj rows [i])
                        (range 1 width)))]
    (peek (peek (reduce add [(vec (range width))] (range 1 (inc (count a))))))))

(def ^:private max-name "Longer names are not taken for typos." 40)

(defn nearest
  "The option of table `known` that `k` is likely a typo of, by at most `most`
  letters, and of several the one that contains it; or nil."
  ([known k] (nearest known k max-name))
  ([known k most]
   (let [given (option-name k)]
     (when (<= (count given) max-name)
       (let [[best d] (->> (keys known)
                           (map (fn [option]
                                  (let [k (option-name option)]
                                    [option (distance given k) (not (str/includes? k given))])))
                           (sort-by (juxt second peek first))
                           (first))]
         (when (and best (<= (long d) (min (long most) (max 1 (quot (count given) 3)))))
           best))))))

(defn slip
  "The option of table `known` that `k` misses by a letter or two; or nil. For maps
  that hold other things on purpose: `:uri` next to `:url` is no typo."
  [known opts k]
  (when (and (simple-keyword? k) (< 2 (count (name k))))
    (let [meant (nearest known k 2)]
      (when-not (contains? opts meant)
        meant))))
